//! Calls for help as the operator's own systems hear of them: a POST with a JSON object for each. The door for `ureq`.
//!
//! Each is told beside the calls and beside the others, so that neither waits for a web server. What is not taken with a
//! 2xx is tried again three times; then it is given up, told and counted.

use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use certs::Roots;
use config::Secret;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{error, warn};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Error};

use crate::core::HelpCall;
use crate::metrics::{Loss, Tally};

/// Tells calls for help and never waits.
pub struct Webhook {
    service: Handle,
    /// How many may be told at one time.
    places: Arc<Semaphore>,
    /// Made when it is needed: most gateways never read the system's roots.
    agent: Arc<OnceLock<Agent>>,
    untold: Tally,
}

impl Webhook {
    /// It works in that runtime.
    pub fn new(service: Handle) -> Self {
        let places = Arc::new(Semaphore::new(PLACES));
        Self { service, places, agent: Arc::default(), untold: Tally::of(Loss::HelpUntold) }
    }

    /// Tells of a call.
    pub fn tell(&self, url: &Secret, call: &HelpCall) {
        let Ok(body) = serde_json::to_vec(call) else { return };
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            // The log has a line for the call itself.
            return self.untold.add(1);
        };
        let job = Job { url: url.clone(), id: call.id.clone(), body, _place: place };
        let (agent, untold) = (Arc::clone(&self.agent), self.untold.clone());
        self.service
            .spawn_blocking(move || job.tell(agent.get_or_init(agent_of_the_system), &untold));
    }

    /// Waits for what is being told, for a while; what is not told by then is counted and logged.
    pub fn close(&self) {
        for _ in 0..LONGEST.as_millis() / LOOK.as_millis() {
            if self.places.available_permits() == PLACES {
                return;
            }
            thread::sleep(LOOK);
        }
        let left = PLACES - self.places.available_permits();
        self.untold.add(left as u64);
        error!(left, "the webhook is not told of these calls for help");
    }
}

struct Job {
    url: Secret,
    id: String,
    body: Vec<u8>,
    _place: OwnedSemaphorePermit,
}

impl Job {
    fn tell(self, agent: &Agent, untold: &Tally) {
        let call = &self.id;
        for last in [false, false, false, true] {
            let Err(reason) = post(agent, &self) else { return };
            if last {
                untold.add(1);
                error!(call, %reason, "the webhook is not told of this call for help");
            } else {
                warn!(call, %reason, "the webhook does not take a call for help; trying again");
                thread::sleep(PAUSE);
            }
        }
    }
}

fn post(agent: &Agent, job: &Job) -> Result<(), Error> {
    let request = agent.post(job.url.reveal()).content_type("application/json");
    request.send(&job.body[..]).map(drop)
}

fn agent_of_the_system() -> Agent {
    let roots = Roots::system_ders().map(|ders| {
        ders.iter().map(|der| Certificate::from_der(der).to_owned()).collect::<Vec<_>>()
    });
    let roots = roots.unwrap_or_else(|reason| {
        warn!(%reason, "the system's roots cannot be read: no webhook by https");
        Vec::new()
    });
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(certs::provider())
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .build();
    let config = Agent::config_builder()
        .timeout_global(Some(LONGEST))
        .max_redirects(0)
        .max_redirects_will_error(true)
        .proxy(None)
        .user_agent("trunkgate")
        .tls_config(tls);
    config.build().into()
}

/// Calls that are told at one time, those that are tried again among them.
const PLACES: usize = 64;
/// The longest a web server may take for one.
const LONGEST: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;

    use super::*;

    fn call(id: &str) -> HelpCall {
        HelpCall {
            id: id.into(),
            node: "a".into(),
            t: "2026-01-01T00:00:00.000Z".into(),
            tenant: Some("t001".into()),
            trunk: None,
            site: None,
            caller: Some("+442079460007".into()),
            shown: Some("+442079460090".into()),
            called: "112".into(),
            refused: None,
        }
    }

    /// Takes one request: its first line, and its body.
    fn serve(listener: &TcpListener, status: &str) -> (String, serde_json::Value) {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(&stream);
        let (mut first, mut length) = (String::new(), 0);
        reader.read_line(&mut first).unwrap();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        (&stream).write_all(answer.as_bytes()).unwrap();
        (first, serde_json::from_slice(&body).unwrap())
    }

    #[test]
    fn a_call_is_posted_again_when_it_was_not_taken_and_holds_up_no_other() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Secret::of(&format!("http://{}/help?key=1", listener.local_addr().unwrap()));
        let service = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let webhook = Webhook::new(service.handle().clone());
        webhook.tell(&url, &call("c1"));
        let (first, body) = serve(&listener, "503 Not Now");
        assert_eq!(first.trim_end(), "POST /help?key=1 HTTP/1.1");
        assert_eq!((&body["id"], &body["called"]), (&"c1".into(), &"112".into()));
        webhook.tell(&url, &call("c2"));
        let ids = [serve(&listener, "200 OK").1, serve(&listener, "200 OK").1];
        assert_eq!(ids.map(|body| body["id"].as_str().unwrap().to_owned()), ["c2", "c1"]);
        webhook.close();
        assert_eq!(webhook.places.available_permits(), PLACES);
    }
}
