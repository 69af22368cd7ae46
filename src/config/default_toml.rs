//! The file that `matrixkv config default` prints: every key with its default and what it means.

use super::keys::{Fallback, KEYS, KeyInfo};

/// The one key that the file sets otherwise than by default, so that a node started with it runs.
const PROPHET_NODE: &str = "prophet.prophet-node";

const HEAD: &str = "\
# The configuration of a MatrixKV node, every key at its default but one: prophet-node is true, so that this file as
# it stands starts a cluster of one node. A key behind a `#` is not set: its default follows from something else, or
# what it is for is not built yet.
";

/// A whole configuration file with comments. It passes its own check without a warning.
pub fn default_toml() -> String {
    let mut text = HEAD.to_owned();
    let mut section = "";
    for key in KEYS {
        if key.section() != section {
            section = key.section();
            text.push_str(&format!("\n[{section}]\n"));
        }
        text.push_str(&entry(key));
    }
    text
}

/// How to get a configuration file, for whoever has none.
pub(super) fn how_to_get_one(file: &str) -> String {
    format!(
        "A node needs one: `matrixkv config default > {file}` writes one that starts a single node; \
         `matrixkv demo` runs a whole cluster without any"
    )
}

fn entry(key: &KeyInfo) -> String {
    let name = key.name();
    let about = format!("\n# {}\n# Valid: {}.\n", key.meaning, key.kind);
    match key.default {
        Fallback::Value(_) if key.path == PROPHET_NODE => {
            format!("{about}# Default: {}.\n{name} = true\n", key.default)
        }
        Fallback::Value(toml) => format!("{about}{name} = {toml}\n"),
        default => format!("{about}# Default: {default}.\n# {name} =\n"),
    }
}
