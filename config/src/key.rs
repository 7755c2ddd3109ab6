//! Keys and the tables they stand in: the one home of a key's name, type, default and meaning.
//!
//! Reading, the JSON schema, the effective configuration and the difference of two configurations
//! all go by these descriptions.

use std::marker::PhantomData;

use serde_json::{Value as Json, json};

use crate::read::Value;

/// A key whose value has the type `T`.
pub(crate) struct Key<T> {
    pub(crate) name: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) presence: Presence,
    pub(crate) restart: bool,
    value: PhantomData<fn() -> T>,
}

/// Whether a key must stand, and what holds when it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It must.
    Required,
    /// It has no effect when it is left out.
    Optional,
    /// This TOML value.
    Default(&'static str),
    /// What these words say.
    Computed(&'static str),
}

/// A [`Key`] of any type.
pub(crate) trait AnyKey: Sync {
    fn name(&self) -> &'static str;
    fn presence(&self) -> Presence;
    fn doc(&self) -> &'static str;
    /// Whether a change takes effect by a restart only.
    fn restart(&self) -> bool;
    fn schema(&self) -> Json;
}

/// A table: its keys, in the order in which they are shown.
pub(crate) struct Section {
    /// As it is written, e.g. `[teams]`.
    pub(crate) title: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) keys: &'static [&'static dyn AnyKey],
    /// The schema of entries under names that the operator chooses, where there are such.
    pub(crate) named: Option<fn() -> Json>,
}

impl<T: Value> Key<T> {
    pub(crate) const fn required(name: &'static str, doc: &'static str) -> Self {
        Self::new(name, doc, Presence::Required)
    }

    pub(crate) const fn optional(name: &'static str, doc: &'static str) -> Self {
        Self::new(name, doc, Presence::Optional)
    }

    /// `value` is TOML.
    pub(crate) const fn default(
        name: &'static str,
        value: &'static str,
        doc: &'static str,
    ) -> Self {
        Self::new(name, doc, Presence::Default(value))
    }

    /// `words` describe what holds without the key.
    pub(crate) const fn computed(
        name: &'static str,
        words: &'static str,
        doc: &'static str,
    ) -> Self {
        Self::new(name, doc, Presence::Computed(words))
    }

    /// A change needs a restart.
    pub(crate) const fn restart(mut self) -> Self {
        self.restart = true;
        self
    }
}

impl<T> Key<T> {
    const fn new(name: &'static str, doc: &'static str, presence: Presence) -> Self {
        Self { name, doc, presence, restart: false, value: PhantomData }
    }
}

impl<T: Value> AnyKey for Key<T> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn presence(&self) -> Presence {
        self.presence
    }

    fn doc(&self) -> &'static str {
        self.doc
    }

    fn restart(&self) -> bool {
        self.restart
    }

    fn schema(&self) -> Json {
        let mut schema = T::schema();
        let doc = match self.presence {
            Presence::Required | Presence::Optional => self.doc.to_owned(),
            Presence::Default(value) => {
                if let Ok(table) = format!("v = {value}").parse::<toml::Table>() {
                    schema["default"] = json!(table["v"]);
                }
                self.doc.to_owned()
            }
            Presence::Computed(words) => format!("{} Default: {words}.", self.doc),
        };
        schema["description"] = json!(doc);
        schema
    }
}

impl Section {
    /// The JSON schema of this table.
    pub(crate) fn schema(&self) -> Json {
        let properties: serde_json::Map<_, _> =
            self.keys.iter().map(|key| (key.name().to_owned(), key.schema())).collect();
        let required: Vec<_> = self
            .keys
            .iter()
            .filter(|key| key.presence() == Presence::Required)
            .map(|key| key.name())
            .collect();
        json!({
            "type": "object",
            "description": self.doc,
            "properties": properties,
            "required": required,
            "additionalProperties": self.named.map_or(Json::Bool(false), |schema| schema()),
        })
    }
}
