//! `registrar` of a trunk as keys again.

use super::{Entry, inline, list, set, span, text};
use crate::model::Trunk;
use crate::read::Choice;
use crate::section::registrar::{
    MAX_CONTACTS, MAX_EXPIRES, MIN_EXPIRES, NETWORKS, REGISTRAR, REQUEST_USER, TRANSPORTS, USER,
};

pub(super) fn entry(of: &Trunk) -> Entry<'_> {
    let registrar = of.registrar.as_ref().map(|of| {
        let mut keys = vec![
            set(&USER, text(&of.user)),
            set(&MIN_EXPIRES, span(of.min_expires)),
            set(&MAX_EXPIRES, span(of.max_expires)),
            set(&MAX_CONTACTS, of.max_contacts.to_string()),
        ];
        if !of.networks.is_empty() {
            keys.push(set(&NETWORKS, list(of.networks.iter().map(text))));
        }
        let transports = of.transports.iter().map(|transport| text(transport.word()));
        keys.push(set(&TRANSPORTS, list(transports)));
        keys.push(set(&REQUEST_USER, text(of.request_user.word())));
        inline(keys)
    });
    super::maybe(&REGISTRAR, registrar)
}
