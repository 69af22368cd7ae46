//! A panic of a node ends the run and becomes a violation of its report, with its message and place, instead of lines
//! on the screen that nobody can assign to a seed. One that a store contains does not end the run, and is told all the
//! same: a shard that contradicts itself is a bug unless its rows were damaged on purpose.

use std::{
    cell::RefCell,
    panic::{self, AssertUnwindSafe},
    sync::Once,
};

thread_local! {
    /// The first panics of this thread; those after one that ended the run are what it broke.
    static SAID: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    /// Whether this thread runs a seed.
    static CAUGHT: RefCell<bool> = const { RefCell::new(false) };
}

/// Panics of one run that are told.
const SAID_MAX: usize = 8;

/// Catches the panics of threads that ask for it; those of others are printed as ever.
pub fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !CAUGHT.with_borrow(|caught| *caught) {
                return usual(info);
            }
            SAID.with_borrow_mut(|said| {
                if said.len() < SAID_MAX {
                    said.push(describe(info));
                }
            });
        }));
    });
}

fn describe(info: &panic::PanicHookInfo<'_>) -> String {
    let place = info.location().map_or("somewhere".into(), |place| format!("{}:{}", place.file(), place.line()));
    let message = info.payload_as_str().unwrap_or("no message");
    if std::env::var_os("MATRIXKV_BACKTRACE").is_none() {
        return format!("{message} ({place})");
    }
    format!("{message} ({place})\n{}", std::backtrace::Backtrace::force_capture())
}

/// Runs `work`: its result and what the panics said that somebody in it contained; or what they and the one said that
/// nobody did.
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<(T, Vec<String>), String> {
    CAUGHT.set(true);
    SAID.take();
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    CAUGHT.set(false);
    let said = SAID.take();
    match result {
        Ok(value) => Ok((value, said)),
        Err(_) if said.is_empty() => Err("a panic without a word".into()),
        Err(_) => Err(said.join("; then ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_with_its_place() {
        install();
        let told = catch(|| panic!("the {} broke", "log")).unwrap_err();
        assert!(told.starts_with("the log broke (") && told.contains("panic.rs:"), "{told}");
        assert_eq!(catch(|| 7), Ok((7, vec![])));
        let (_, said) = catch(|| panic::catch_unwind(|| panic!("contained")).is_err()).unwrap();
        assert!(said[0].starts_with("contained"), "{said:?}");
    }
}
