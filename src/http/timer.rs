//! hyper's timer on the Env's clock.

use std::{
    future::Future,
    pin::Pin,
    sync::Mutex,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use hyper::rt::{Sleep, Timer};

use crate::env::Env;

/// Sleeps as the Env does. hyper speaks in `Instant`s; they are only ever compared with one another here.
#[derive(Clone)]
pub(super) struct EnvTimer<E: Env>(pub E);

struct EnvSleep(Mutex<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl Future for EnvSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0.lock().expect("no holder panics").as_mut().poll(context)
    }
}

impl Sleep for EnvSleep {}

impl<E: Env> Timer for EnvTimer<E> {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(EnvSleep(Mutex::new(Box::pin(self.0.sleep(duration)))))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.sleep(deadline.saturating_duration_since(self.now()))
    }
}
