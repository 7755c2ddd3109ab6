//! Who calls by Remote-Party-ID (draft-ietf-sip-privacy-04), for peers that tell it by nothing else.

use sip_stack::message::{HeaderId, Message, NameAddr, unquote};

use super::caller::Identity;

/// What it says of the caller.
pub(super) struct RemoteParty {
    /// Who that is; a number.
    pub(super) identity: Identity,
    /// Who calls is to be shown to nobody.
    pub(super) private: bool,
    /// The network has verified it.
    pub(super) screened: bool,
}

/// The first one that speaks of the calling party with a number.
pub(super) fn read(message: &Message, country: Option<&str>) -> Option<RemoteParty> {
    let values = message.elements(HeaderId::RemotePartyId).take(MOST_READ);
    values.filter_map(|value| one(value, country)).next()
}

fn one(value: &[u8], country: Option<&str>) -> Option<RemoteParty> {
    let address = NameAddr::parse(value).ok()?;
    let word = |name| address.param(name).flatten().map(unquote);
    let is = |name, wanted: &[u8]| word(name).map(|word| word.eq_ignore_ascii_case(wanted));
    if !is("party", b"calling").unwrap_or(true) {
        return None;
    }
    let identity = Identity::read(value, country);
    let open = is("privacy", b"off").unwrap_or(true);
    let screened = is("screen", b"yes").unwrap_or(false);
    identity.number.then_some(RemoteParty { identity, private: !open, screened })
}

/// Elements of the header that are looked at.
const MOST_READ: usize = 8;
