//! The service thread: a second runtime, for what takes long: TLS handshakes (given to the network
//! driver as a handle), questions to DNS, the admin pages.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use sip_stack::locate::{Answer, Kind, QueryId};
use sip_stack::net::resolver::Resolver;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tracing::error;

use crate::metrics::{Loss, Tally};

/// The running thread. Ends, and drops what it is doing, when this is dropped.
pub struct Service {
    handle: Handle,
    resolver: Arc<Resolver>,
    questions: Arc<Semaphore>,
    answered: mpsc::Sender<(QueryId, Answer)>,
    answers: mpsc::Receiver<(QueryId, Answer)>,
    refused: Tally,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    /// Starts the thread.
    pub fn start(dns: &config::Dns) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("service".into()).spawn(move || {
            // An error says that the other end is gone, which is the end as well.
            let _ = runtime.block_on(ended);
            runtime.shutdown_background();
        })?;
        let (answered, answers) = mpsc::channel(QUESTIONS);
        Ok(Self {
            handle,
            resolver: Arc::new(Resolver::new(&dns.servers)?),
            questions: Arc::new(Semaphore::new(QUESTIONS)),
            answered,
            answers,
            refused: Tally::of(Loss::QueryRefused),
            end: Some(end),
            thread: Some(thread),
        })
    }

    /// Where its tasks are spawned.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Asks DNS; the answer comes out of [`Service::answer`]. False: too many questions are open.
    #[must_use]
    pub fn query(&self, id: QueryId, name: &str, kind: Kind) -> bool {
        let Ok(permit) = Arc::clone(&self.questions).try_acquire_owned() else {
            self.refused.add(1);
            return false;
        };
        let (resolver, answered) = (Arc::clone(&self.resolver), self.answered.clone());
        let name = name.to_owned();
        self.handle.spawn(async move {
            let answer = resolver.resolve(&name, kind).await;
            // There is room: as many answers as questions. Nobody listens any more at the end.
            let _ = answered.send((id, answer)).await;
            drop(permit);
        });
        true
    }

    /// Asks by another resolver from now on; what is asked already is answered by the former one.
    pub fn set_resolver(&mut self, resolver: Arc<Resolver>) {
        self.resolver = resolver;
    }

    /// The next answer; nothing is lost when this is dropped.
    pub async fn answer(&mut self) -> (QueryId, Answer) {
        self.answers.recv().await.expect("a sender lives as long as the receiver, in this struct")
    }

    /// The next answer if there is one.
    pub fn answer_now(&mut self) -> Option<(QueryId, Answer)> {
        self.answers.try_recv().ok()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("the service thread was lost");
        }
    }
}

/// Questions that may be open at one time.
const QUESTIONS: usize = 256;
