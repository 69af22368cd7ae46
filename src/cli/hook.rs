//! `--fault-hook`: whoever may connect to this loopback address may cut the links of the process. Chaos runs do.
//!
//! `POST /cuts` takes a [`Command`]; `GET /cuts` says the last one that was obeyed.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::get};

use crate::{
    config::Config,
    env::{
        Env,
        real::{
            RealEnv,
            links::{Command, Links},
        },
    },
    node::Stop,
};

/// Between looks at what was cut for too long.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Whether a hook may open at `address`: an address of this machine alone, since who reaches it may harm the node.
pub fn check(address: SocketAddr) -> Result<(), String> {
    match address.ip().is_loopback() {
        true => Ok(()),
        false => Err(format!("--fault-hook = \"{address}\": must be a loopback address, as 127.0.0.1:9000")),
    }
}

#[derive(Clone)]
struct Hook {
    links: Links,
    last: Arc<Mutex<Command>>,
}

/// Opens the hook, and serves it until `stop`.
pub async fn open(env: RealEnv, links: Links, address: SocketAddr, config: &Config, stop: Stop) -> std::io::Result<()> {
    let listener = env.listen(&address.to_string()).await?;
    tracing::warn!(%address, "a fault hook is open: whoever connects to it may cut this node off");
    let hook = Hook { links: links.clone(), last: Arc::default() };
    let app = Router::new().route("/cuts", get(told).post(cut)).with_state(hook);
    let serving = crate::http::serve(env.clone(), listener, app, config.limits.clone(), stop);
    env.spawn("fault hook", serving);
    let timer = env.clone();
    env.spawn("fault hook's clock", async move {
        loop {
            timer.sleep(LOOK_EVERY).await;
            links.give_up();
        }
    });
    Ok(())
}

async fn told(State(hook): State<Hook>) -> String {
    let last = hook.last.lock().expect("no holder panics");
    serde_json::to_string(&*last).expect("a command is JSON")
}

async fn cut(State(hook): State<Hook>, body: Bytes) -> (StatusCode, String) {
    let command: Command = match serde_json::from_slice(&body) {
        Ok(command) => command,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")),
    };
    let mut last = hook.last.lock().expect("no holder panics");
    match hook.links.obey(&command) {
        Ok(()) => {
            *last = command;
            (StatusCode::OK, "{}\n".into())
        }
        Err(why) => (StatusCode::CONFLICT, format!("{why}\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_opens_on_loopback_alone() {
        check("127.0.0.1:9000".parse().unwrap()).unwrap();
        check("[::1]:9000".parse().unwrap()).unwrap();
        let told = check("0.0.0.0:9000".parse().unwrap()).unwrap_err();
        assert_eq!(told, "--fault-hook = \"0.0.0.0:9000\": must be a loopback address, as 127.0.0.1:9000");
    }

    #[tokio::test]
    async fn a_command_is_obeyed_and_a_bad_one_is_refused_with_the_reason() {
        let hook = Hook { links: Links::default(), last: Arc::default() };
        let post = |body: &'static str| cut(State(hook.clone()), Bytes::from_static(body.as_bytes()));
        assert_eq!(post("{\"number\":1,\"cuts\":{\"a:1\":{\"out\":true}}}").await.0, StatusCode::OK);
        let (status, why) = post("{\"number\":2,\"cuts\":{\"a:1\":{\"up\":true}}}").await;
        assert!(status == StatusCode::BAD_REQUEST && why.contains("up"), "{status}: {why}");
        let (status, why) = post("{\"number\":1}").await;
        assert!(status == StatusCode::CONFLICT && why.contains("must be above 1"), "{status}: {why}");
        let last = told(State(hook.clone())).await;
        assert_eq!(last, "{\"number\":1,\"cuts\":{\"a:1\":{\"out\":true,\"in\":false}},\"reset\":[]}");
    }
}
