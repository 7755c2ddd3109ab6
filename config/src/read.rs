//! The typed reader over TOML that knows where everything was written.
//!
//! serde stops at the first fault; this reader notes the fault and goes on, so that one report
//! holds all of them.

use serde_json::{Value as Json, json};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::fault::{Draft, Findings};
use crate::key::{Key, Presence, Section};
use crate::section;
use crate::source::{At, SourceId, Span};

/// A TOML value, the key under which it stands, and where.
#[derive(Clone, Copy)]
pub(crate) struct Node<'a> {
    pub(crate) key: &'a str,
    pub(crate) value: &'a DeValue<'a>,
    pub(crate) span: Span,
}

/// A type that can be read from TOML.
pub(crate) trait Value: Sized {
    /// `None` when the value is no good; the fault has been noted then.
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self>;

    /// The JSON schema of its values.
    fn schema() -> Json;

    /// What to do when it is missing.
    fn how(name: &str) -> String {
        format!("Add `{name} = …`.")
    }
}

/// A type that is written as a string.
pub(crate) trait Text: Sized {
    /// What it is, for messages: "a host name".
    const WHAT: &'static str;

    fn parse(text: &str) -> Result<Self, Bad>;

    /// What must stand when something else than a string does.
    fn expected() -> String {
        format!("{} (a string)", Self::WHAT)
    }

    fn schema() -> Json {
        json!({ "type": "string" })
    }
}

/// One of several words.
pub(crate) trait Choice: Copy + 'static {
    const WHAT: &'static str;
    const WORDS: &'static [(&'static str, Self)];
    /// Words kept for features to come.
    const LATER: &'static [&'static str] = &[];

    /// The word for this value.
    fn word(self) -> &'static str
    where
        Self: PartialEq,
    {
        Self::WORDS.iter().find(|(_, value)| *value == self).map_or("", |(word, _)| word)
    }
}

/// Why a text is no good, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bad {
    pub(crate) message: String,
    pub(crate) help: String,
}

/// A table being read.
pub(crate) struct Table<'a, 'f> {
    section: &'static Section,
    entries: &'a DeTable<'a>,
    pub(crate) span: Span,
    pub(crate) out: &'f mut Findings,
}

impl Bad {
    pub(crate) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into() }
    }

    /// The fault that a text read under `key` is no good; `what` was expected.
    pub(crate) fn at(self, key: &str, span: Span, what: &str) -> Draft {
        Draft::new(format!("`{key}`: {}", self.message), self.help)
            .at(span, format!("{what} is expected"))
    }
}

impl<'a> Node<'a> {
    /// Notes that this value has the wrong kind.
    pub(crate) fn wrong_kind(&self, expected: &str, out: &mut Findings) {
        let kind = with_article(self.value.type_str());
        out.fault(
            Draft::new(
                format!("`{}` must be {expected}, not {kind}", self.key),
                format!("Write {expected} here."),
            )
            .at(self.span, format!("this is {kind}")),
        );
    }

    /// The elements of an array, each under the array's key.
    pub(crate) fn elements(&self) -> Option<impl Iterator<Item = Node<'a>> + use<'a>> {
        let Node { key, span, .. } = *self;
        let array = self.value.as_array()?;
        Some(array.iter().map(move |item| Node {
            key,
            value: item.get_ref(),
            span: Span::new(span.source, item.span()),
        }))
    }
}

impl<'a, 'f> Table<'a, 'f> {
    /// Begins to read `node` as the table `section`.
    pub(crate) fn open(
        section: &'static Section,
        node: Node<'a>,
        out: &'f mut Findings,
    ) -> Option<Self> {
        match node.value.as_table() {
            Some(entries) => Some(Self { section, entries, span: node.span, out }),
            None => {
                node.wrong_kind("a table", out);
                None
            }
        }
    }

    /// The value of a key that must stand.
    pub(crate) fn required<T: Value>(&mut self, key: &Key<T>) -> Option<At<T>> {
        if self.node(key.name).is_none() {
            self.out.fault(
                Draft::new(
                    format!("{}: `{}` is missing", self.section.title, key.name),
                    format!("{} {}", T::how(key.name), key.doc),
                )
                .at(self.span, "in this table"),
            );
        }
        self.optional(key)
    }

    /// The value of a key that may stand.
    pub(crate) fn optional<T: Value>(&mut self, key: &Key<T>) -> Option<At<T>> {
        let node = self.node(key.name)?;
        T::read(node, self.out).map(|value| At { value, span: node.span })
    }

    /// The same without its place.
    pub(crate) fn plain<T: Value>(&mut self, key: &Key<T>) -> Option<T> {
        self.optional(key).map(|at| at.value)
    }

    /// The value of a key that has a default; this default also where the value is no good.
    pub(crate) fn value<T: Value>(&mut self, key: &Key<T>) -> At<T> {
        self.optional(key).unwrap_or_else(|| {
            let Presence::Default(text) = key.presence else {
                unreachable!("`{}` is read by its default and has none", key.name)
            };
            let value = DeValue::parse(text).expect("defaults are TOML: a test reads them all");
            let node = Node { key: key.name, value: value.get_ref(), span: self.span };
            let value = T::read(node, self.out).expect("defaults are valid: a test reads them all");
            At { value, span: self.span }
        })
    }

    /// Whether the key stands, be its value good or not.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Where the key stands.
    pub(crate) fn place(&self, name: &str) -> Option<Span> {
        let (name, _) = self.entries.get_key_value(name)?;
        Some(Span::new(self.span.source, name.span()))
    }

    /// Notes that an entry is none of the section's keys.
    pub(crate) fn unknown(&mut self, name: At<&str>) {
        self.out.fault(unknown_key(self.section, name));
    }

    /// The entries that are none of the section's keys, with the span of their name.
    pub(crate) fn named(&self) -> Vec<(At<&'a str>, Node<'a>)> {
        let source = self.span.source;
        let unknown = |name: &str| self.section.keys.iter().all(|key| key.name() != name);
        self.entries
            .iter()
            .filter(|(name, _)| unknown(name.get_ref()))
            .map(|(name, value)| entry(source, name, value))
            .collect()
    }

    /// Ends the reading: notes unknown keys.
    pub(crate) fn finish(mut self) {
        let named = if self.section.named.is_some() { Vec::new() } else { self.named() };
        for (name, _) in named {
            self.unknown(name);
        }
    }

    fn node(&self, name: &'a str) -> Option<Node<'a>> {
        let value = self.entries.get(name)?;
        let span = Span::new(self.span.source, value.span());
        Some(Node { key: name, value: value.get_ref(), span })
    }
}

/// Reads a string by the type's own parser.
impl<T: Text> Value for T {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let Some(text) = node.value.as_str() else {
            node.wrong_kind(&T::expected(), out);
            return None;
        };
        match T::parse(text) {
            Ok(value) => Some(value),
            Err(bad) => {
                out.fault(bad.at(node.key, node.span, T::WHAT));
                None
            }
        }
    }

    fn schema() -> Json {
        <T as Text>::schema()
    }
}

/// Reads every element, also after a bad one.
impl<T: Value> Value for Vec<At<T>> {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let Some(elements) = node.elements() else {
            if node.value.is_table() {
                node.wrong_kind(&format!("a list ([[{}]])", node.key), out);
                // It is taken for the one element, so that nobody misses it.
                return T::read(node, out).map(|value| vec![At { value, span: node.span }]);
            }
            node.wrong_kind("a list", out);
            return None;
        };
        let read =
            |element: Node<'_>| T::read(element, out).map(|value| At { value, span: element.span });
        Some(elements.filter_map(read).collect())
    }

    fn schema() -> Json {
        json!({ "type": "array", "items": T::schema() })
    }
}

impl Value for bool {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        match node.value {
            DeValue::Boolean(value) => Some(*value),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => {
                node.wrong_kind("true or false", out);
                None
            }
        }
    }

    fn schema() -> Json {
        json!({ "type": "boolean" })
    }
}

impl<T: Choice> Text for T {
    const WHAT: &'static str = T::WHAT;

    fn parse(text: &str) -> Result<Self, Bad> {
        if let Some((_, value)) = T::WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(*value);
        }
        let words = T::WORDS.iter().map(|(word, _)| *word);
        let list = <T as Text>::expected();
        if T::LATER.contains(&text) {
            let message = format!("\"{text}\" is not supported yet");
            return Err(Bad::new(message, format!("So far it can be {list}.")));
        }
        let help = match nearest(text, words) {
            Some(near) => format!("Did you mean \"{near}\"? It can be {list}."),
            None => format!("It can be {list}."),
        };
        Err(Bad::new(format!("\"{text}\" is not {}", T::WHAT), help))
    }

    fn expected() -> String {
        let words = T::WORDS.iter().map(|(word, _)| format!("\"{word}\""));
        words.collect::<Vec<_>>().join(" or ")
    }

    fn schema() -> Json {
        json!({ "enum": T::WORDS.iter().map(|(word, _)| *word).collect::<Vec<_>>() })
    }
}

/// The word most like `word`, if one is like it at all.
pub(crate) fn nearest<'w>(word: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    // Also bounds the work: nobody mistypes a key by hundreds of letters.
    if word.len() > 64 {
        return None;
    }
    words
        .map(|known| (strsim::damerau_levenshtein(word, known), known))
        .filter(|(distance, known)| {
            *distance <= known.len().div_ceil(3) || known.starts_with(word) && word.len() > 2
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// An entry of a table: its name and its value.
fn entry<'a>(
    source: SourceId,
    name: &'a Spanned<DeString<'a>>,
    value: &'a Spanned<DeValue<'a>>,
) -> (At<&'a str>, Node<'a>) {
    let key: &str = name.get_ref();
    let node = Node { key, value: value.get_ref(), span: Span::new(source, value.span()) };
    (At { value: key, span: Span::new(source, name.span()) }, node)
}

fn unknown_key(section: &'static Section, name: At<&str>) -> Draft {
    let At { value, span } = name;
    let shown: String = value.chars().take(64).collect();
    let keys = section.keys.iter();
    let near = nearest(value, keys.clone().map(|key| key.name()));
    let elsewhere = || {
        let has = |other: &&Section| {
            !std::ptr::eq(*other, section) && other.keys.iter().any(|key| key.name() == value)
        };
        section::ALL.iter().copied().filter(has).map(|other| other.title).collect::<Vec<_>>()
    };
    let help = match (near, elsewhere()) {
        (Some(near), _) => format!("Did you mean `{near}`?"),
        (None, titles) if !titles.is_empty() => {
            format!("This key belongs into {}.", titles.join(" or "))
        }
        (None, _) => {
            let names = keys.map(|key| key.name()).collect::<Vec<_>>().join(", ");
            format!("Take it out. {} has the keys {names}.", section.title)
        }
    };
    Draft::new(format!("{}: `{shown}` is no key", section.title), help).at(span, "unknown key")
}

fn with_article(kind: &str) -> String {
    let article = if kind.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {kind}")
}
