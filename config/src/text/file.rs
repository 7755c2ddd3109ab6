//! Paths, relative to the file that names them, and secrets, which may lie in a file or in the
//! environment.

use std::path::PathBuf;

use serde_json::{Value as Json, json};
use toml::de::DeValue;

use crate::fault::{Draft, Findings};
use crate::model;
use crate::read::{Node, Table, Value};
use crate::section::secret;

/// A path, joined to the directory of the file that names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FilePath(pub(crate) PathBuf);

impl Value for FilePath {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let DeValue::String(text) = node.value else {
            node.wrong_kind("a path (a string)", out);
            return None;
        };
        if text.is_empty() || text.contains(['\0', '\n']) {
            let draft = Draft::new(
                format!("`{}`: this is no path", node.key),
                "Write the path of a file, relative to this file's directory or absolute.",
            );
            out.fault(draft.at(node.span, "not a path"));
            return None;
        }
        Some(Self(out.sources.get(node.span.source).directory.join(&**text)))
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1 })
    }
}

/// A private key: the path of its file, `{ file = "…" }` or `{ env = "…" }`; never the key itself.
impl Value for model::Key {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        if node.value.as_str().is_some_and(|text| text.contains("-----BEGIN")) {
            let draft = Draft::new(
                format!("`{}`: the key itself stands here", node.key),
                "Put it into a file of mode 0600 and name that, or use { env = \"…\" }.",
            );
            out.fault(draft.at(node.span, "a path must stand here"));
            return None;
        }
        if node.value.is_str() {
            return FilePath::read(node, out).map(|FilePath(path)| Self::File(path));
        }
        if !node.value.is_table() {
            node.wrong_kind("a path, { file = \"…\" } or { env = \"…\" }", out);
            return None;
        }
        let mut table = Table::open(&secret::SECTION, node, out)?;
        let (file, env) = (table.optional(&secret::FILE), table.optional(&secret::ENV));
        let key = match (table.has(secret::FILE.name), table.has(secret::ENV.name)) {
            (true, false) => file.map(|at| Self::File(at.value.0)),
            (false, true) => env.map(|at| Self::Env(at.value.0)),
            (true, true) | (false, false) => {
                let draft = Draft::new(
                    format!("`{}`: one of `file` and `env` is needed", node.key),
                    "Write { file = \"…\" } or { env = \"…\" }.",
                );
                table.out.fault(draft.at(node.span, "exactly one must stand here"));
                None
            }
        };
        table.finish();
        key
    }

    fn schema() -> Json {
        json!({ "anyOf": [FilePath::schema(), secret::SECTION.schema()] })
    }
}
