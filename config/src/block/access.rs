//! `credentials` and `register` of a trunk as keys again; of a secret, where it stands.

use super::{Entry, Shown, inline, list, path, set, span, text};
use crate::key::AnyKey;
use crate::model::{Login, Origin, Register, Secret, Trunk};
use crate::section::access::{
    AUTHENTICATE, CONTACT, CREDENTIALS, EACH_PEER, EXPIRES, LOGIN, REGISTER, REGISTRAR, USER,
};

pub(super) fn entries(of: &Trunk) -> Vec<Entry<'_>> {
    let key: &dyn AnyKey = &CREDENTIALS;
    let value = match &of.credentials[..] {
        [] => Shown::Absent("none"),
        logins => Shown::Secrets {
            toml: list(logins.iter().map(login)),
            secrets: logins.iter().map(|login| &login.password).collect(),
        },
    };
    let credentials = Entry { key: key.name().to_owned(), value, restart: key.restart() };
    let key: &dyn AnyKey = &AUTHENTICATE;
    let value = match &of.authenticate {
        None => Shown::Absent("none"),
        Some(claim) => Shown::Secrets { toml: login(claim), secrets: vec![&claim.password] },
    };
    let authenticate = Entry { key: key.name().to_owned(), value, restart: key.restart() };
    let register = super::maybe(&REGISTER, of.register.as_ref().map(register));
    vec![credentials, register, authenticate]
}

fn login(login: &Login) -> String {
    let values = [text(&login.username), secret(&login.password), text(&login.realm)];
    let entries = LOGIN.keys.iter().zip(values);
    inline(entries.map(|(key, value)| set(*key, value)).collect())
}

/// A secret that is written in the configuration is not written out again.
pub(super) fn secret(secret: &Secret) -> String {
    match &secret.from {
        Origin::Written => text("(hidden)"),
        Origin::File(file) => format!("{{ file = {} }}", path(file)),
        Origin::Env(name) => format!("{{ env = {} }}", text(name)),
    }
}

fn register(register: &Register) -> String {
    let Register { registrar, user, contact, expires, each_peer } = register;
    inline(vec![
        set(&REGISTRAR, text(registrar)),
        set(&USER, text(user)),
        set(&CONTACT, text(contact)),
        set(&EXPIRES, span(*expires)),
        set(&EACH_PEER, each_peer.to_string()),
    ])
}
