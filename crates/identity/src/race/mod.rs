//! One race over all addresses of a peer, which whoever proves to be that peer decides.
//!
//! A [`Race`] takes candidates: endpoints of any transport, listed and found ones, and names, each of which becomes its
//! addresses. It dials them without waiting long for one that does not answer (RFC 8305 §5), hands each connection to a
//! [`Judge`], and ends with the first one that the judge is content with. That a socket opens decides nothing: behind it may
//! be another node, or this one itself.
//!
//! What to try when is decided by the [`Decider`], which does no I/O.

mod decider;
mod own;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use futures_util::Stream;
use p2p_core::{Runtime, Sleep};
use p2p_net::{Connection, DialError, Endpoint, PeerAddr, Transports};

pub use self::decider::{Action, Attempt, Decider, Kind, RaceLimits};
pub use self::own::OwnAddresses;

/// Further candidates, which are looked for once the listed ones do not answer at once.
pub type Source<'a> = Pin<&'a mut (dyn Stream<Item = Vec<PeerAddr>> + Send)>;

/// Says who may be dialed, and who has won.
pub trait Judge: Sync {
    /// What comes of a connection to the right peer.
    type Won: Send;
    /// What goes wrong.
    type Error: From<p2p_net::Error> + Send;

    /// Whether to dial a candidate, or an address of one that is a name.
    ///
    /// # Errors
    /// Why not. It is the error of the race if nothing else goes wrong.
    fn allow(&self, endpoint: &Endpoint) -> Result<(), Self::Error>;

    /// Dials an address, as [`Transports::connect`] does unless another way is wanted. Dropped when it is given up.
    fn connect(
        &self,
        transports: &Transports,
        endpoint: &Endpoint,
    ) -> impl Future<Output = p2p_net::Result<Connection>> + Send {
        transports.connect(endpoint)
    }

    /// Finds out who is at the other end. Dropped when another one has won: whoever cares closes the connection then.
    fn ask(&self, connection: Connection) -> impl Future<Output = Result<Self::Won, Self::Error>> + Send;

    /// Nothing comes of an address, or of a name.
    fn failed(&self, endpoint: &Endpoint, error: &Self::Error);

    /// How much an error says about the race as a whole: of several the one that says most is given, the last of those.
    fn weight(&self, _error: &Self::Error) -> u8 {
        0
    }
}

/// How to race.
#[derive(Debug, Clone, Copy)]
pub struct Race<'a> {
    /// Dials.
    pub transports: &'a Transports,
    /// The bounds.
    pub limits: RaceLimits,
    /// When whoever has not answered is given up, names and the source of further candidates included.
    pub until: Instant,
}

impl Race<'_> {
    /// Races the candidates, those of higher priority first, and each once, whatever names it. Those of the source are
    /// asked for when the first of the others has failed, or has not answered for [`RaceLimits::stagger`], and are added to
    /// the list. A source that has ended must stay at its end. Cancel-safe: a dropped call gives up.
    ///
    /// # Errors
    /// What went wrong; `None` when there was nobody to dial.
    pub async fn run<J: Judge>(
        &self,
        judge: &J,
        candidates: &mut Vec<PeerAddr>,
        source: Option<Source<'_>>,
    ) -> Result<J::Won, Option<J::Error>> {
        let runtime = &**self.transports.runtime();
        let decider = Decider::new(self.limits, runtime.now(), self.until, source.is_some());
        let mut run = Run {
            transports: self.transports,
            runtime,
            judge,
            decider,
            endpoints: Vec::with_capacity(candidates.len()),
            works: Vec::with_capacity(1),
            source,
            seeks: false,
            timer: None,
            error: None,
            denied: None,
            found: Vec::new(),
        };
        for addr in &*candidates {
            run.add(addr);
        }
        if let Some(error) = run.act() {
            return Err(error);
        }
        poll_fn(|cx| {
            let polled = run.poll(cx);
            candidates.append(&mut run.found);
            polled
        })
        .await
    }
}

/// A race under way.
struct Run<'a, 's, J: Judge> {
    transports: &'a Transports,
    runtime: &'a dyn Runtime,
    judge: &'a J,
    decider: Decider,
    /// By number of the candidate.
    endpoints: Vec<Endpoint>,
    works: Vec<(Attempt, Work<'a, J>)>,
    source: Option<Source<'s>>,
    seeks: bool,
    timer: Option<Sleep>,
    error: Option<J::Error>,
    /// Why the first one was not dialed that was not.
    denied: Option<J::Error>,
    /// What the source has given and the caller has not got.
    found: Vec<PeerAddr>,
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What is done about an attempt.
enum Work<'a, J: Judge> {
    Resolve(Boxed<'a, p2p_net::Result<Vec<Endpoint>>>),
    Connect(Boxed<'a, p2p_net::Result<Connection>>),
    Ask(Boxed<'a, Result<J::Won, J::Error>>),
}

/// What came of it.
enum Done<J: Judge> {
    Resolved(p2p_net::Result<Vec<Endpoint>>),
    Connected(p2p_net::Result<Connection>),
    Asked(Result<J::Won, J::Error>),
}

impl<J: Judge> Work<'_, J> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Done<J>> {
        match self {
            Self::Resolve(work) => work.as_mut().poll(cx).map(Done::Resolved),
            Self::Connect(work) => work.as_mut().poll(cx).map(Done::Connected),
            Self::Ask(work) => work.as_mut().poll(cx).map(Done::Asked),
        }
    }
}

impl<'a, J: Judge> Run<'a, '_, J> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<J::Won, Option<J::Error>>> {
        loop {
            let mut changed = false;
            let mut index = 0;
            while let Some((attempt, work)) = self.works.get_mut(index) {
                let (attempt, Poll::Ready(done)) = (*attempt, work.poll(cx)) else {
                    index += 1;
                    continue;
                };
                changed = true;
                match done {
                    Done::Connected(Ok(connection)) => {
                        self.decider.connected(self.runtime.now(), attempt);
                        self.works[index].1 = Work::Ask(Box::pin(self.judge.ask(connection)));
                        continue;
                    }
                    Done::Asked(Ok(won)) => return Poll::Ready(Ok(won)),
                    Done::Resolved(Ok(addresses)) => {
                        self.decider.resolved(attempt);
                        addresses.into_iter().for_each(|address| self.add_address(attempt.candidate, address));
                    }
                    Done::Resolved(Err(error)) | Done::Connected(Err(error)) => self.failed(attempt, error.into()),
                    Done::Asked(Err(error)) => self.failed(attempt, error),
                }
                drop(self.works.swap_remove(index));
            }
            changed |= self.poll_source(cx);
            changed |= self.timer.as_mut().is_some_and(|timer| Pin::new(timer).poll(cx).is_ready());
            if !changed {
                return Poll::Pending;
            }
            if let Some(error) = self.act() {
                return Poll::Ready(Err(error));
            }
        }
    }

    /// Takes what the source has found; whether there was something.
    fn poll_source(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(source) = self.source.as_mut().filter(|_| self.seeks) else { return false };
        match source.as_mut().poll_next(cx) {
            Poll::Ready(Some(found)) => {
                for addr in found {
                    if self.add(&addr) {
                        self.found.push(addr);
                    }
                }
            }
            Poll::Ready(None) => {
                self.seeks = false;
                self.decider.source_ended();
            }
            Poll::Pending => return false,
        }
        true
    }

    /// Does what the decider says; gives the error when that is the end.
    fn act(&mut self) -> Option<Option<J::Error>> {
        let now = self.runtime.now();
        while let Some(action) = self.decider.poll(now) {
            match action {
                Action::Start(attempt) => {
                    let endpoint = self.endpoints[attempt.candidate].clone();
                    self.works.push((attempt, self.begin(endpoint)));
                }
                Action::Stop(attempt) => self.give_up(attempt),
                Action::Late(attempt) => {
                    self.give_up(attempt);
                    let endpoint = self.endpoints[attempt.candidate].clone();
                    self.failed(attempt, p2p_net::Error::Dial { endpoint, reason: DialError::TimedOut }.into());
                }
                Action::Seek => self.seeks = true,
                Action::End => return Some(self.error.take().or(self.denied.take())),
            }
        }
        match (&mut self.timer, self.decider.deadline()) {
            (Some(timer), Some(deadline)) => timer.reset(deadline),
            (timer, deadline) => *timer = deadline.map(|deadline| self.runtime.sleep_until(deadline)),
        }
        None
    }

    fn begin(&self, endpoint: Endpoint) -> Work<'a, J> {
        let (transports, judge) = (self.transports, self.judge);
        match endpoint.addr().ip() {
            Some(_) => Work::Connect(Box::pin(async move { judge.connect(transports, &endpoint).await })),
            None => Work::Resolve(Box::pin(async move { transports.resolve(&endpoint).await })),
        }
    }

    fn give_up(&mut self, attempt: Attempt) {
        self.works.retain(|(other, _)| *other != attempt);
    }

    fn failed(&mut self, attempt: Attempt, error: J::Error) {
        if self.decider.failed(attempt) {
            self.judge.failed(&self.endpoints[attempt.candidate], &error);
        }
        let weight = |error: &J::Error| self.judge.weight(error);
        if self.error.as_ref().is_none_or(|before| weight(&error) >= weight(before)) {
            self.error = Some(error);
        }
    }

    /// Adds a candidate; whether it is one now and was none before.
    fn add(&mut self, addr: &PeerAddr) -> bool {
        let endpoint = addr.endpoint.clone();
        let kind = Kind { priority: addr.priority, name: endpoint.addr().ip().is_none() };
        self.insert(endpoint, |decider| decider.add(kind))
    }

    fn add_address(&mut self, name: usize, endpoint: Endpoint) {
        self.insert(endpoint, |decider| decider.add_address(name));
    }

    fn insert(&mut self, endpoint: Endpoint, add: impl FnOnce(&mut Decider) -> Option<usize>) -> bool {
        if self.endpoints.iter().any(|other| is_same_place(other, &endpoint)) {
            return false;
        }
        if let Err(error) = self.judge.allow(&endpoint) {
            self.denied.get_or_insert(error);
            return false;
        }
        if add(&mut self.decider).is_none() {
            tracing::debug!(%endpoint, "it is left out: there are too many addresses");
            return false;
        }
        self.endpoints.push(endpoint);
        true
    }
}

fn is_same_place(one: &Endpoint, other: &Endpoint) -> bool {
    (one.transport(), one.addr(), one.port()) == (other.transport(), other.addr(), other.port())
}
