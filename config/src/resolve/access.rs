//! Credentials and registration of a trunk: secrets read from where they are, defaults from one another.

use zeroize::Zeroizing;

use crate::Surroundings;
use crate::fault::{Draft, Findings};
use crate::load::unreadable;
use crate::model::{Host, Key, Login, Origin, Peer, Register, Secret};
use crate::resolve::identity::check_mode;
use crate::section::access::{RawAccess, RawClaim, RawLogin, RawSecret, is_secret};
use crate::source::{At, Span, read_text};

/// `None` where a fault was noted.
pub(crate) fn credentials(
    subject: &str,
    raw: &RawAccess,
    around: &Surroundings,
    out: &mut Findings,
) -> Option<Vec<Login>> {
    let mut realms: Vec<&At<String>> = Vec::new();
    for realm in raw.credentials.iter().filter_map(|at| at.value.realm.as_ref()) {
        if let Some(first) = realms.iter().find(|known| known.value == realm.value) {
            let message = format!("{subject}: two credentials for the realm {:?}", realm.value);
            let help = "Give one for each realm.";
            out.fault(Draft::new(message, help).at(realm.span, "again").at(first.span, "first"));
        }
        realms.push(realm);
    }
    let logins: Vec<_> = raw.credentials.iter().map(|at| login(&at.value, around, out)).collect();
    logins.into_iter().collect()
}

/// What the trunk has to prove. `None` where a fault was noted; `Some(None)`: nothing.
pub(crate) fn authenticate(
    raw: &RawAccess,
    fqdn: Option<&str>,
    around: &Surroundings,
    out: &mut Findings,
) -> Option<Option<Login>> {
    let Some(RawClaim(claim)) = &raw.authenticate else { return Some(None) };
    let password =
        claim.password.as_ref().and_then(|at| secret(&at.value, "password", at.span, around, out));
    let realm = claim.realm.as_ref().map(|at| at.value.clone());
    Some(Some(Login {
        realm: realm.or_else(|| fqdn.map(str::to_owned))?,
        username: claim.username.clone()?,
        password: password?,
    }))
}

fn login(raw: &RawLogin, around: &Surroundings, out: &mut Findings) -> Option<Login> {
    let password =
        raw.password.as_ref().and_then(|at| secret(&at.value, "password", at.span, around, out));
    Some(Login {
        realm: raw.realm.as_ref()?.value.clone(),
        username: raw.username.clone()?,
        password: password?,
    })
}

/// A secret, of whatever it is one; `None` where a fault was noted.
pub(crate) fn secret(
    raw: &RawSecret,
    what: &str,
    span: Span,
    around: &Surroundings,
    out: &mut Findings,
) -> Option<Secret> {
    let (from, text) = match raw {
        RawSecret::Written(text) => return Some(Secret::new(Origin::Written, text.clone())),
        RawSecret::Elsewhere(Key::File(path)) => {
            out.files.note(path);
            check_mode(path, what, span, out);
            match read_text(path, LIMIT) {
                Ok(text) => (Origin::File(path.clone()), Zeroizing::new(text.to_string())),
                Err(error) => {
                    let help = format!(
                        "Check the path and the rights of the file; it holds the {what} in one line."
                    );
                    unreadable(path, &error, Some(span), &help, out);
                    return None;
                }
            }
        }
        RawSecret::Elsewhere(Key::Env(name)) => match (around.variable)(name) {
            Some(text) => (Origin::Env(name.clone()), Zeroizing::new(text)),
            None => {
                let message = format!("the environment has no variable {name}");
                let help = format!("Set it for the gateway's process to the {what}.");
                out.fault(Draft::new(message, help).at(span, "not set"));
                return None;
            }
        },
    };
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    is_secret(line, what, span, out).then(|| Secret::new(from, Zeroizing::new(line.to_owned())))
}

/// `None` where a fault was noted; `Some(None)`: it does not register.
pub(crate) fn register(
    subject: &str,
    raw: &RawAccess,
    peers: &[Peer],
    out: &mut Findings,
) -> Option<Option<Register>> {
    let Some(At { value: register, span }) = &raw.register else { return Some(None) };
    let default = raw.credentials.first().and_then(|at| at.value.username.clone());
    let user = register.user.clone().or_else(|| default.filter(|_| !register.user_written));
    if user.is_none() && !register.user_written && raw.credentials.is_empty() {
        let message = format!("{subject}: nobody is registered");
        let help = "Add `user`, or `credentials` with a username.";
        out.fault(Draft::new(message, help).at(*span, "`user` is missing"));
    }
    let user = user?;
    let host = |peer: &Peer| match &peer.host {
        Host::Name(name) => name.clone(),
        other @ (Host::Ip(_) | Host::Registered) => other.to_string(),
    };
    Some(Some(Register {
        registrar: match &register.registrar {
            Some(host) => match host.parse() {
                Ok(ip) => Host::Ip(ip).to_string(),
                Err(_) => host.clone(),
            },
            None => peers.first().map(host)?,
        },
        contact: register.contact.clone().unwrap_or_else(|| user.clone()),
        user,
        expires: register.expires,
        each_peer: register.each_peer,
    }))
}

/// The largest file of a password.
const LIMIT: u64 = 4096;
