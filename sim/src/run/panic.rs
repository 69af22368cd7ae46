//! A panic of a node ends the run and becomes a violation of its report, with its message and place, instead of lines
//! on the screen that nobody can assign to a seed.

use std::{
    cell::RefCell,
    panic::{self, AssertUnwindSafe},
    sync::Once,
};

thread_local! {
    /// The first panic of this thread; later ones are what it broke.
    static FIRST: RefCell<Option<String>> = const { RefCell::new(None) };
    /// Whether this thread runs a seed.
    static CAUGHT: RefCell<bool> = const { RefCell::new(false) };
}

/// Catches the panics of threads that ask for it; those of others are printed as ever.
pub fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !CAUGHT.with_borrow(|caught| *caught) {
                return usual(info);
            }
            FIRST.with_borrow_mut(|first| {
                first.get_or_insert_with(|| describe(info));
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

/// Runs `work`: its result, or what the first panic in it said.
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    CAUGHT.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    CAUGHT.set(false);
    result.map_err(|_| FIRST.take().unwrap_or_else(|| "a panic without a word".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_with_its_place() {
        install();
        let told = catch(|| panic!("the {} broke", "log")).unwrap_err();
        assert!(told.starts_with("the log broke (") && told.contains("panic.rs:"), "{told}");
        assert_eq!(catch(|| 7), Ok(7));
    }
}
