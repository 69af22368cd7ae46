//! A small HTTP/1.1 client over the Env's streams: for `ctl`, for discovery, for simulated clients. It says of a
//! failure whether the request can have arrived.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;

use crate::env::Env;

/// Bytes of an answer that are read at the most.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It did not leave: it did not happen.
    #[error("not sent: {0}")]
    NotSent(String),
    /// It left, and no whole answer came: it may have happened.
    #[error("no answer: {0}")]
    Lost(String),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

/// A connection that is kept open between requests.
pub struct Connection {
    host: String,
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    /// Connects to `address` (`host:port`).
    pub async fn open<E: Env>(env: &E, address: &str) -> Result<Connection, RequestError> {
        let not_sent = |error: String| RequestError::NotSent(format!("{address}: {error}"));
        let stream = env.connect(address).await.map_err(|error| not_sent(error.to_string()))?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| not_sent(error.to_string()))?;
        env.spawn("http client", async move {
            // How it ended is told to whoever waits for an answer.
            let _ = connection.await;
        });
        Ok(Connection { host: address.to_owned(), sender })
    }

    /// Whether the other side has closed it.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Asks, and waits for the whole answer.
    pub async fn request(&mut self, method: &str, path: &str, body: &[u8]) -> Result<Answer, RequestError> {
        // A connection that was closed before this is the one case in which nothing can have left.
        self.sender.ready().await.map_err(|error| RequestError::NotSent(error.to_string()))?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.host)
            .body(Full::new(Bytes::copy_from_slice(body)))
            .map_err(|error| RequestError::NotSent(error.to_string()))?;
        let lost = |error: String| RequestError::Lost(error);
        let answer = self.sender.send_request(request).await.map_err(|error| {
            if error.is_canceled() { RequestError::NotSent(error.to_string()) } else { lost(error.to_string()) }
        })?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        Ok(Answer { status, body: body.map_err(|error| lost(error.to_string()))?.to_bytes() })
    }
}
