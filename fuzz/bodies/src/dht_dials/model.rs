//! Whom a node may dial, plainly: in whole seconds, and with nothing put off.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use p2p_identity::Prefix;
use p2p_identity::prefix::is_local;

/// A network, or a socket address where many share one network.
pub(super) type Range = Result<Prefix, SocketAddr>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Why {
    Told,
    ToldBy(u8),
    Back,
    Elsewhere,
}

impl Why {
    /// How many in a row, and how many seconds later one more.
    pub(super) fn allows(self, vain: u64) -> (u64, u64) {
        match self {
            Self::Told | Self::Elsewhere => (vain, 60),
            Self::ToldBy(_) => (if vain > 1 { vain - 1 } else { 1 }, 60),
            Self::Back => (16, 4),
        }
    }
}

pub(super) type Account = (Why, Range);

/// One that is not there is full, and nothing of it was in vain.
struct Budget {
    left: u64,
    since: u64,
    failures: u64,
}

#[derive(Default)]
struct Namer {
    blame: u64,
    since: u64,
    vain: Vec<(u8, Range)>,
    /// Until when it is aside, and how many times the first wait that was.
    aside: Option<(u64, u64)>,
}

impl Namer {
    fn is_aside(&self, now: u64) -> bool {
        self.aside.is_some_and(|(until, _)| now < until)
    }

    fn pass(&mut self, now: u64) {
        let minutes = (now.saturating_sub(self.since) / 60).min(self.blame);
        self.blame -= minutes;
        self.since += minutes * 60;
        if self.blame == 0 {
            self.since = now;
            self.vain.clear();
        }
        if let Some((until, factor)) = self.aside {
            let hours = now.saturating_sub(until) / 3600;
            let factor = factor.checked_shr(hours as u32).unwrap_or(0);
            self.aside = (factor > 0).then_some((until + hours * 3600, factor));
        }
    }
}

/// The dials of one question.
pub(super) struct Question {
    pub(super) id: u64,
    pub(super) began: u64,
    pub(super) peer: u8,
    pub(super) namer: Option<u8>,
    pub(super) why: Why,
    /// Where it is dialed without a charge: at one address, or everywhere.
    pub(super) free: Option<Option<IpAddr>>,
    /// Who is charged beside.
    pub(super) payer: Option<u8>,
    /// What may be given back.
    charged: Vec<(SocketAddr, Account)>,
    dialed: Option<SocketAddr>,
    overdrawn: Option<Range>,
    refused: bool,
    met: bool,
}

impl Question {
    pub(super) fn new(
        id: u64,
        began: u64,
        peer: u8,
        namer: Option<u8>,
        why: Why,
        free: Option<Option<IpAddr>>,
    ) -> Self {
        let payer = namer.filter(|_| why == Why::Told);
        let (charged, dialed, overdrawn) = (Vec::new(), None, None);
        Self { id, began, peer, namer, why, free, payer, charged, dialed, overdrawn, refused: false, met: false }
    }

    pub(super) fn is_withheld(&self) -> bool {
        self.refused && self.dialed.is_none()
    }

    pub(super) fn is_free(&self, at: SocketAddr) -> bool {
        self.free.is_some_and(|free| free.is_none_or(|ip| ip.to_canonical() == at.ip().to_canonical()))
    }
}

/// A dial that was charged.
pub(super) struct Charged {
    pub(super) question: u64,
    pub(super) at: SocketAddr,
    pub(super) account: Account,
    pub(super) when: u64,
    /// It led to whoever was meant.
    pub(super) met: bool,
}

pub(super) struct Model {
    pub(super) vain: u64,
    limit_local: bool,
    pub(super) now: u64,
    budgets: BTreeMap<Account, Budget>,
    namers: BTreeMap<u8, Namer>,
    met: BTreeMap<u8, IpAddr>,
    heard: Option<u64>,
    pub(super) questions: Vec<Question>,
    pub(super) history: Vec<Charged>,
}

impl Model {
    pub(super) fn new(vain: u64, limit_local: bool) -> Self {
        let (budgets, namers, met) = Default::default();
        let (questions, history) = Default::default();
        Self { vain, limit_local, now: 0, budgets, namers, met, heard: None, questions, history }
    }

    pub(super) fn range(&self, at: SocketAddr) -> Range {
        let ip = at.ip().to_canonical();
        if is_local(ip) && !self.limit_local { Err(SocketAddr::new(ip, at.port())) } else { Ok(Prefix::of(ip)) }
    }

    pub(super) fn met_at(&self, peer: u8) -> Option<IpAddr> {
        self.met.get(&peer).copied()
    }

    pub(super) fn is_heard(&self, who: u8) -> bool {
        !self.namers.get(&who).is_some_and(|namer| namer.is_aside(self.now))
    }

    pub(super) fn forget(&mut self) {
        self.budgets.clear();
        self.met.clear();
        self.history.clear();
        self.questions.iter_mut().for_each(|question| question.charged.clear());
    }

    pub(super) fn pass(&mut self, seconds: u64) {
        self.now += seconds;
        let (now, vain) = (self.now, self.vain);
        for ((why, _), budget) in &mut self.budgets {
            let (most, again) = why.allows(vain);
            let doubled = if *why == Why::Back { 0 } else { (budget.failures + 1).saturating_sub(most).min(6) };
            let again = again << doubled;
            let more = ((now - budget.since) / again).min(most - budget.left);
            budget.left += more;
            budget.since += more * again;
        }
        self.budgets.retain(|(why, _), budget| budget.left < why.allows(vain).0);
        self.namers.values_mut().for_each(|namer| namer.pass(now));
    }

    fn left(&self, account: Account) -> u64 {
        self.budgets.get(&account).map_or(account.0.allows(self.vain).0, |budget| budget.left)
    }

    fn take(&mut self, account: Account) {
        let fresh = Budget { left: self.left(account), since: self.now, failures: 0 };
        self.budgets.entry(account).or_insert(fresh).left -= 1;
    }

    fn give_back(&mut self, account: Account) {
        let (most, _) = account.0.allows(self.vain);
        let Some(budget) = self.budgets.get_mut(&account) else { return };
        budget.left += 1;
        if budget.failures > 0 {
            (budget.failures, budget.since) = (0, self.now);
        }
        if budget.left == most {
            self.budgets.remove(&account);
        }
    }

    pub(super) fn may_dial(&mut self, which: usize, at: SocketAddr) -> bool {
        let range = self.range(at);
        let (id, peer) = (self.questions[which].id, self.questions[which].peer);
        let same = self.questions.iter().filter(|other| other.peer == peer);
        let is_dialed = same.flat_map(|other| &other.charged).any(|(charged, _)| *charged == at);
        let question = &mut self.questions[which];
        if is_dialed {
            question.payer = None;
        }
        if question.is_free(at) {
            question.dialed = Some(at);
            return true;
        }
        let (why, payer) = (question.why, question.payer);
        let accounts: Vec<Account> =
            payer.map(|payer| (Why::ToldBy(payer), range)).into_iter().chain([(why, range)]).collect();
        if let Some((why, _)) = accounts.iter().find(|account| self.left(**account) == 0) {
            let question = &mut self.questions[which];
            question.refused = true;
            if matches!(why, Why::ToldBy(_)) {
                question.overdrawn = Some(range);
            }
            return false;
        }
        for account in accounts {
            self.take(account);
            self.questions[which].charged.push((at, account));
            self.history.push(Charged { question: id, at, account, when: self.now, met: false });
        }
        self.questions[which].dialed = Some(at);
        true
    }

    pub(super) fn on_met(&mut self, which: usize, at: SocketAddr) {
        self.heard = Some(self.now);
        let question = &mut self.questions[which];
        question.met = true;
        let id = question.id;
        let (here, others): (Vec<_>, Vec<_>) = question.charged.drain(..).partition(|(charged, _)| *charged == at);
        question.charged = others;
        here.into_iter().for_each(|(_, account)| self.give_back(account));
        self.history.iter_mut().filter(|dial| dial.question == id && dial.at == at).for_each(|dial| dial.met = true);
    }

    /// It is over: what is still charged was in vain, if others answer.
    fn end(&mut self, which: usize) -> Question {
        let question = self.questions.remove(which);
        if self.others_answer() {
            for (_, account) in &question.charged {
                self.budgets.get_mut(account).into_iter().for_each(|budget| budget.failures += 1);
            }
        }
        question
    }

    fn others_answer(&self) -> bool {
        self.heard.is_some_and(|heard| self.now < heard + 15)
    }

    pub(super) fn answered(&mut self, which: usize, from: Option<SocketAddr>, judged: bool) {
        self.heard = Some(self.now);
        if let Some(at) = from.or(self.questions[which].dialed) {
            self.on_met(which, at);
            self.met.insert(self.questions[which].peer, at.ip());
        }
        let question = self.end(which);
        if let Some(namer) = question.namer.filter(|_| judged).and_then(|namer| self.namers.get_mut(&namer)) {
            namer.blame = namer.blame.saturating_sub(3);
            namer.pass(self.now);
        }
    }

    pub(super) fn failed(&mut self, which: usize, denied: bool, judged: bool) -> bool {
        let question = self.end(which);
        if question.dialed.is_some() {
            self.met.remove(&question.peer);
        }
        if question.met || denied || !self.others_answer() {
            return false;
        }
        let Some(by) = question.namer.filter(|_| judged) else { return false };
        let (now, dialed) = (self.now, question.dialed.map(|at| self.range(at)));
        let known = |namer: &Namer, range| namer.vain.iter().any(|(_, vain)| *vain == range);
        let range = match (dialed, question.overdrawn) {
            (Some(range), _) => range,
            (None, Some(range)) if self.namers.get(&by).is_some_and(|namer| known(namer, range)) => range,
            (None, _) => return false,
        };
        let namer = self.namers.entry(by).or_insert_with(|| Namer { since: now, ..Namer::default() });
        if namer.is_aside(now) || namer.vain.iter().any(|(peer, _)| *peer == question.peer) {
            return false;
        }
        namer.blame += if known(namer, range) { 4 } else { 1 };
        namer.vain.push((question.peer, range));
        if namer.vain.len() > 12 {
            let _ = namer.vain.remove(0);
        }
        if namer.blame < 12 {
            return false;
        }
        let factor = namer.aside.map_or(1, |(_, factor)| (2 * factor).min(256));
        let until = now + 15 * factor;
        (namer.blame, namer.since, namer.aside) = (6, until, Some((until, factor)));
        true
    }
}
