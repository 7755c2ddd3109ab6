//! What a trunk's keys say about going elsewhere: how often its peers are asked, and what their failures mean to a
//! caller.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::fault::{Draft, Findings};
use crate::key::Section;
use crate::read::{Bad, Node, Table, Text, Value};
use crate::text::scalar::{Int, seconds};

/// The time between two OPTIONS to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PeerInterval(pub(crate) Duration);

/// What the caller is told in place of a final status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StatusMap(pub(crate) BTreeMap<u16, u16>);

/// What a trunk is told when a limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LimitStatus(pub(crate) u16);

impl Value for LimitStatus {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let status = Int::<0, 999>::read(node, out)?;
        match u16::try_from(status.0).ok().filter(|status| [403, 486, 503].contains(status)) {
            Some(status) => Some(Self(status)),
            None => {
                let message =
                    format!("`{}`: {} does not say that a limit is reached", node.key, status.0);
                out.fault(
                    Draft::new(message, "Write 503, 486 or 403.").at(node.span, "which status?"),
                );
                None
            }
        }
    }

    fn schema() -> Json {
        json!({ "enum": [503, 486, 403] })
    }
}

impl Text for PeerInterval {
    const WHAT: &'static str = "a span of time";

    fn parse(text: &str) -> Result<Self, Bad> {
        let span = seconds(text).filter(|span| (5..=600).contains(span));
        let span = span.ok_or_else(|| {
            let message = format!("\"{text}\" is no span of time between two OPTIONS");
            Bad::new(message, "Write a span from \"5s\" to \"10m\", such as \"30s\".")
        })?;
        Ok(Self(Duration::from_secs(span)))
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[0-9]+(s|m)$" })
    }
}

impl Value for StatusMap {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let table = Table::open(&STATUS_MAP_SECTION, node, out)?;
        let mut map = BTreeMap::new();
        for (name, value) in table.named() {
            let from = name.value.parse::<u16>().ok().filter(|from| (300..=699).contains(from));
            let Some(from) = from else {
                let message = format!("`{}`: {:?} is no final status", node.key, name.value);
                let help = "Write a status from 300 to 699, such as 500 = 503.";
                table.out.fault(Draft::new(message, help).at(name.span, "no final status"));
                continue;
            };
            let to = Int::<400, 699>::read(value, table.out);
            map.extend(to.and_then(|to| u16::try_from(to.0).ok()).map(|to| (from, to)));
        }
        Some(Self(map))
    }

    fn schema() -> Json {
        STATUS_MAP_SECTION.schema()
    }
}

static STATUS_MAP_SECTION: Section = Section {
    title: "status_map",
    doc: "What the caller is told in place of a final status.",
    keys: &[],
    named: Some(<Int<400, 699> as Value>::schema),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_asked_neither_too_often_nor_never() {
        for (text, want) in [("5s", 5), ("30s", 30), ("10m", 600)] {
            assert_eq!(PeerInterval::parse(text), Ok(PeerInterval(Duration::from_secs(want))));
        }
        for text in ["4s", "11m", "30", "", "1h"] {
            assert!(PeerInterval::parse(text).is_err(), "{text:?}");
        }
    }
}
