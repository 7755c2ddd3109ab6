//! `credentials` and `register` of a trunk: how we prove who we are, and where we say that we can be reached.

use std::time::Duration;

use serde_json::{Value as Json, json};
use toml::de::DeValue;
use zeroize::Zeroizing;

use crate::fault::{Draft, Findings};
use crate::key::{Key, Section};
use crate::model;
use crate::read::{Bad, Node, Table, Text, Value};
use crate::section::registrar::{self, RawRegistrar};
use crate::source::{At, Span};
use crate::text::name::UriHost;
use crate::text::scalar::Patience;

pub(crate) static CREDENTIALS: Key<RawCredentials> = Key::optional(
    "credentials",
    "With what a challenge of the trunk is answered (digest: SHA-512-256, SHA-256, MD5): { username = \"…\", password = \"…\", realm = \"…\" }, or a list of these, one for each realm.",
);
pub(crate) static REGISTER: Key<RawRegister> = Key::optional(
    "register",
    "Registers with the trunk's registrar, which then sends calls here; {} takes what the credentials say.",
);

pub(crate) static AUTHENTICATE: Key<RawClaim> = Key::optional(
    "authenticate",
    "What its calls have to prove, beside coming from its `networks`: { username = \"…\", password = \"…\" }.",
);

static USERNAME: Key<UserName> = Key::required("username", "The name that the password is for.");
static PASSWORD: Key<RawSecret> = Key::required(
    "password",
    "The password; better { file = \"…\" } or { env = \"…\" }, which keep it out of this file.",
);
static LOGIN_REALM: Key<AuthRealm> = Key::required(
    "realm",
    "The realm as the trunk's challenge (WWW-Authenticate, Proxy-Authenticate) names it: no other is ever answered.",
);

pub(crate) static LOGIN: Section = Section {
    title: "credentials",
    doc: "A name and a password for one realm.",
    keys: &[&USERNAME, &PASSWORD, &LOGIN_REALM],
    named: None,
};

static OWN_REALM: Key<AuthRealm> =
    Key::computed("realm", "`fqdn` of [gateway]", "The realm that our challenge names.");

pub(crate) static CLAIM: Section = Section {
    title: "authenticate",
    doc: "A name and a password that a trunk has to know.",
    keys: &[&USERNAME, &PASSWORD, &OWN_REALM],
    named: None,
};

pub(crate) static REGISTRAR: Key<UriHost> = Key::computed(
    "registrar",
    "the host of the first of `peers`",
    "The domain in which we register; REGISTER goes to the trunk's peers.",
);
pub(crate) static USER: Key<UriUser> = Key::computed(
    "user",
    "the username of the first credentials",
    "The user of the address that we register.",
);
pub(crate) static CONTACT: Key<UriUser> =
    Key::computed("contact", "as `user`", "The user of our Contact: calls come for this one.");
pub(crate) static EXPIRES: Key<Lifetime> = Key::default(
    "expires",
    "\"10m\"",
    "For how long we ask, 1m to 24h; the registrar may grant less, or ask for more.",
);
pub(crate) static EACH_PEER: Key<bool> = Key::default(
    "each_peer",
    "false",
    "Whether to register at every peer; else at the first that takes it.",
);

pub(crate) static REGISTER_SECTION: Section = Section {
    title: "register",
    doc: "How to register with a trunk.",
    keys: &[&REGISTRAR, &USER, &CONTACT, &EXPIRES, &EACH_PEER],
    named: None,
};

/// What a trunk's table says of both.
#[derive(Debug)]
pub(crate) struct RawAccess {
    pub(crate) credentials: Vec<At<RawLogin>>,
    pub(crate) register: Option<At<RawRegister>>,
    pub(crate) authenticate: Option<RawClaim>,
    pub(crate) registrar: Option<At<RawRegistrar>>,
}

#[derive(Debug)]
pub(crate) struct RawCredentials(Vec<At<RawLogin>>);

/// `None` where a fault was noted.
#[derive(Debug)]
pub(crate) struct RawLogin {
    pub(crate) username: Option<String>,
    pub(crate) password: Option<At<RawSecret>>,
    pub(crate) realm: Option<At<String>>,
}

/// The same of who has to prove it to us; its realm may be left out.
#[derive(Debug)]
pub(crate) struct RawClaim(pub(crate) RawLogin);

/// A secret, or where it is.
pub(crate) enum RawSecret {
    Written(Zeroizing<String>),
    Elsewhere(model::Key),
}

#[derive(Debug)]
pub(crate) struct RawRegister {
    pub(crate) registrar: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) user_written: bool,
    pub(crate) contact: Option<String>,
    pub(crate) expires: Duration,
    pub(crate) each_peer: bool,
}

/// The name in credentials.
#[derive(Debug)]
pub(crate) struct UserName(String);

/// A realm of RFC 7616.
#[derive(Debug)]
pub(crate) struct AuthRealm(String);

/// The user part of a URI that needs no escape.
#[derive(Debug)]
pub(crate) struct UriUser(pub(crate) String);

/// How long a registration lasts.
#[derive(Debug)]
pub(crate) struct Lifetime(Duration);

impl RawAccess {
    pub(crate) fn read(table: &mut Table<'_, '_>) -> Self {
        let credentials = table.optional(&CREDENTIALS);
        Self {
            credentials: credentials.map(|at| at.value.0).unwrap_or_default(),
            register: table.optional(&REGISTER),
            authenticate: table.optional(&AUTHENTICATE).map(|at| at.value),
            registrar: table.optional(&registrar::REGISTRAR),
        }
    }
}

/// One table, or a list of them.
impl Value for RawCredentials {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let mut login =
            |node: Node<'_>| Some(At { value: RawLogin::read(node, out)?, span: node.span });
        let logins: Vec<_> = match node.elements() {
            Some(elements) => elements.map(login).collect(),
            None => vec![login(node)],
        };
        logins.into_iter().collect::<Option<_>>().map(Self)
    }

    fn schema() -> Json {
        let one = LOGIN.schema();
        json!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

impl Value for RawLogin {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let mut table = Table::open(&LOGIN, node, out)?;
        let raw = Self {
            username: table.required(&USERNAME).map(|at| at.value.0),
            password: table.required(&PASSWORD),
            realm: table.required(&LOGIN_REALM).map(|at| at.map(|realm| realm.0)),
        };
        table.finish();
        Some(raw)
    }

    fn schema() -> Json {
        LOGIN.schema()
    }
}

impl Value for RawClaim {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let mut table = Table::open(&CLAIM, node, out)?;
        let raw = RawLogin {
            username: table.required(&USERNAME).map(|at| at.value.0),
            password: table.required(&PASSWORD),
            realm: table.optional(&OWN_REALM).map(|at| at.map(|realm| realm.0)),
        };
        table.finish();
        Some(Self(raw))
    }

    fn schema() -> Json {
        CLAIM.schema()
    }
}

/// A string, which is the secret itself, `{ file = "…" }` or `{ env = "…" }`.
impl Value for RawSecret {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        if node.value.is_table() {
            return <model::Key as Value>::read(node, out).map(Self::Elsewhere);
        }
        let DeValue::String(text) = node.value else {
            node.wrong_kind("a secret, { file = \"…\" } or { env = \"…\" }", out);
            return None;
        };
        let text = Zeroizing::new(text.to_string());
        is_secret(&text, node.key, node.span, out).then_some(Self::Written(text))
    }

    fn schema() -> Json {
        json!({ "anyOf": [{ "type": "string", "minLength": 1 }, crate::section::secret::SECTION.schema()] })
    }
}

/// Notes that a text cannot be a secret. Never says what it is.
pub(crate) fn is_secret(text: &str, key: &str, span: Span, out: &mut Findings) -> bool {
    let good = !text.is_empty() && text.len() <= LONGEST && !text.chars().any(char::is_control);
    if !good {
        let message = format!("`{key}`: this cannot be a secret");
        let help = "It has 1 to 256 bytes in one line, without control characters.";
        out.fault(Draft::new(message, help).at(span, "no secret"));
    }
    good
}

impl Value for RawRegister {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let mut table = Table::open(&REGISTER_SECTION, node, out)?;
        let raw = Self {
            registrar: table.optional(&REGISTRAR).map(|at| at.value.0),
            user: table.optional(&USER).map(|at| at.value.0),
            user_written: table.has(USER.name),
            contact: table.optional(&CONTACT).map(|at| at.value.0),
            expires: table.value(&EXPIRES).value.0,
            each_peer: table.value(&EACH_PEER).value,
        };
        table.finish();
        Some(raw)
    }

    fn schema() -> Json {
        REGISTER_SECTION.schema()
    }
}

impl Text for UserName {
    const WHAT: &'static str = "a user's name";

    fn parse(text: &str) -> Result<Self, Bad> {
        quotable(text).map(Self)
    }
}

impl Text for AuthRealm {
    const WHAT: &'static str = "a realm";

    fn parse(text: &str) -> Result<Self, Bad> {
        quotable(text).map(Self)
    }
}

/// What can stand between quotes as it is.
fn quotable(text: &str) -> Result<String, Bad> {
    let bad = |char: char| char.is_control() || matches!(char, '"' | '\\');
    if text.is_empty() || text.len() > LONGEST || text.chars().any(bad) {
        let help = "It has 1 to 256 bytes, without quotes, backslashes and control characters.";
        return Err(Bad::new("this cannot stand in a header between quotes", help));
    }
    Ok(text.to_owned())
}

impl Text for UriUser {
    const WHAT: &'static str = "the user of a SIP address";

    fn parse(text: &str) -> Result<Self, Bad> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,".contains(&byte);
        if text.is_empty() || text.len() > 64 || !text.bytes().all(fits) {
            let message = format!("{text:?} cannot be the user of a SIP address");
            let help =
                "Write what stands before the \"@\": 1 to 64 letters, digits and -_.!~*'()&=+$,";
            return Err(Bad::new(message, help));
        }
        Ok(Self(text.to_owned()))
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1, "maxLength": 64 })
    }
}

impl Text for Lifetime {
    const WHAT: &'static str = "a span of time";

    fn parse(text: &str) -> Result<Self, Bad> {
        let Patience(span) = Patience::parse(text)?;
        match span.as_secs() {
            60..=86_400 => Ok(Self(span)),
            _ => Err(Bad::new(
                format!("no registration lasts {text}"),
                "Write a span from \"1m\" to \"24h\", such as \"10m\".",
            )),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[0-9]+(s|m|h)$" })
    }
}

impl std::fmt::Debug for RawSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RawSecret")
    }
}

const LONGEST: usize = 256;
