//! `registrar` of a trunk: how it may register with us.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::fault::Findings;
use crate::key::{Key, Section};
use crate::model::{RequestUser, Transport};
use crate::read::{Bad, Choice, Node, Table, Text, Value};
use crate::section::access::UriUser;
use crate::source::At;
use crate::text::address::Network;
use crate::text::scalar::{Int, Patience};

pub(crate) static REGISTRAR: Key<RawRegistrar> = Key::optional(
    "registrar",
    "How a trunk whose `peers` have \"registered\" may register with the gateway; each of its keys has a default.",
);

pub(crate) static USER: Key<UriUser> = Key::computed(
    "user",
    "the username of `authenticate`",
    "The user of the address that it registers (To of its REGISTER).",
);
pub(crate) static MIN_EXPIRES: Key<Shortest> = Key::default(
    "min_expires",
    "\"60s\"",
    "The shortest registration, 10s to 1h: who asks for less gets 423.",
);
pub(crate) static MAX_EXPIRES: Key<Longest> = Key::default(
    "max_expires",
    "\"1h\"",
    "The longest registration, 1m to 24h: who asks for more gets this; who says nothing as well.",
);
pub(crate) static MAX_CONTACTS: Key<Int<1, 10>> = Key::default(
    "max_contacts",
    "1",
    "How many contacts it may have at a time; one more takes the place of the oldest.",
);
pub(crate) static NETWORKS: Key<Vec<At<Network>>> =
    Key::computed("networks", "anywhere", "From where it may register.");
pub(crate) static TRANSPORTS: Key<Vec<At<Transport>>> = Key::computed(
    "transports",
    "those on which its realm listens",
    "By which transports it may register, such as [\"tls\"].",
);
pub(crate) static REQUEST_USER: Key<RequestUser> = Key::default(
    "request_user",
    "\"number\"",
    "What stands before the \"@\" of the Request-URI of a call to it: the called \"number\", as a trunk wants it, or the user of its \"contact\", as a telephone does; To has the number in both cases.",
);

pub(crate) static REGISTRAR_SECTION: Section = Section {
    title: "registrar",
    doc: "How a trunk may register with the gateway; its `peers` have \"registered\".",
    keys: &[
        &USER,
        &MIN_EXPIRES,
        &MAX_EXPIRES,
        &MAX_CONTACTS,
        &NETWORKS,
        &TRANSPORTS,
        &REQUEST_USER,
    ],
    named: None,
};

#[derive(Debug)]
pub(crate) struct RawRegistrar {
    pub(crate) user: Option<String>,
    pub(crate) min_expires: At<Duration>,
    pub(crate) max_expires: Duration,
    pub(crate) max_contacts: u8,
    pub(crate) networks: Option<At<Vec<At<Network>>>>,
    pub(crate) transports: Option<At<Vec<At<Transport>>>>,
    pub(crate) request_user: RequestUser,
}

/// The shortest time that a registration may have.
#[derive(Debug)]
pub(crate) struct Shortest(Duration);

/// The longest one.
#[derive(Debug)]
pub(crate) struct Longest(Duration);

impl Value for RawRegistrar {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let mut table = Table::open(&REGISTRAR_SECTION, node, out)?;
        let raw = Self {
            user: table.optional(&USER).map(|at| at.value.0),
            min_expires: table.value(&MIN_EXPIRES).map(|least| least.0),
            max_expires: table.value(&MAX_EXPIRES).value.0,
            max_contacts: u8::try_from(table.value(&MAX_CONTACTS).value.0).unwrap_or(1),
            networks: table.optional(&NETWORKS),
            transports: table.optional(&TRANSPORTS),
            request_user: table.value(&REQUEST_USER).value,
        };
        table.finish();
        Some(raw)
    }

    fn schema() -> Json {
        REGISTRAR_SECTION.schema()
    }
}

impl Choice for RequestUser {
    const WHAT: &'static str = "the user of a Request-URI";
    const WORDS: &'static [(&'static str, Self)] =
        &[("number", Self::Number), ("contact", Self::Contact)];
}

impl Text for Shortest {
    const WHAT: &'static str = "a span of time";

    fn parse(text: &str) -> Result<Self, Bad> {
        within(text, 10..=3600, "Write a span from \"10s\" to \"1h\", such as \"60s\".").map(Self)
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[0-9]+(s|m|h)$" })
    }
}

impl Text for Longest {
    const WHAT: &'static str = "a span of time";

    fn parse(text: &str) -> Result<Self, Bad> {
        within(text, 60..=86_400, "Write a span from \"1m\" to \"24h\", such as \"1h\".").map(Self)
    }

    fn schema() -> Json {
        <Shortest as Text>::schema()
    }
}

fn within(text: &str, bounds: std::ops::RangeInclusive<u64>, help: &str) -> Result<Duration, Bad> {
    let Patience(span) = Patience::parse(text)?;
    match bounds.contains(&span.as_secs()) {
        true => Ok(span),
        false => Err(Bad::new(format!("no registration lasts {text}"), help)),
    }
}
