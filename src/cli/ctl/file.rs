//! A file of keys and values, one pair a line, a TAB between them.

use std::{collections::BTreeMap, path::Path};

/// Bytes of a key at the most, as nodes have it by default.
const KEY_BYTES_MAX: usize = 4096;

/// The pairs of `file`. Of a key that stands there twice the last value counts. A bad line is an error that names it.
pub(super) fn read(file: &Path) -> Result<BTreeMap<String, String>, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut pairs = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let bad = |what: &str| format!("{}:{}: {what}", file.display(), number + 1);
        let (key, value) = line.split_once('\t').ok_or_else(|| bad("no TAB between key and value"))?;
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(bad(&format!("a key of {} bytes; 1 to {KEY_BYTES_MAX} are valid", key.len())));
        }
        pairs.insert(key.to_owned(), value.to_owned());
    }
    Ok(pairs)
}

/// A progress bar, or nothing where nobody looks.
pub(super) fn bar(length: usize, what: &'static str) -> indicatif::ProgressBar {
    let style = indicatif::ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} ({per_sec}, {eta} left)");
    let bar = indicatif::ProgressBar::new(length as u64).with_style(style.expect("the template is sound"));
    bar.set_message(what);
    bar
}
