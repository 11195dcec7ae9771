//! Whom a node of the DHT may dial, against plain lists: each address range, and each node that names others, within its budget;
//! what is charged for a dial that ends at whoever was meant is given back.

mod model;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use p2p_kademlia::fuzzing::{Dials, Purpose};

use self::model::{Model, Question, Why};
use crate::input::{Input, ip, peer, start};

/// No question takes longer: then the dials of a minute are bounded as well.
const LONGEST: u64 = 15;

struct Both {
    dials: Dials,
    model: Model,
}

impl Both {
    fn now(&self) -> Instant {
        start() + Duration::from_secs(self.model.now)
    }

    fn may_dial(&mut self, which: usize, at: SocketAddr) -> bool {
        let Question { id, .. } = self.model.questions[which];
        let is_free = self.model.questions[which].is_free(at);
        let may = self.dials.may_dial(self.now(), id, at);
        assert_eq!(may, self.model.may_dial(which, at));
        assert!(may || !is_free, "where somebody has proven to be");
        assert_eq!(self.dials.is_withheld(id), self.model.questions[which].is_withheld());
        may
    }

    fn failed(&mut self, which: usize, denied: bool, judged: bool) {
        let Question { id, .. } = self.model.questions[which];
        let put_aside = self.dials.failed(self.now(), id, denied, judged);
        assert_eq!(put_aside, self.model.failed(which, denied, judged));
    }

    fn begin(&mut self, purpose: Purpose, who: u8, namer: Option<u8>) {
        let id = self.dials.begin(purpose, peer(who), namer.map(peer));
        let (why, free) = match purpose {
            Purpose::Ask(contact) => (Why::Told, contact.or(self.model.met_at(who)).map(Some)),
            Purpose::Check(ip) => (Why::Told, Some(Some(ip))),
            Purpose::Bootstrap => (Why::Told, Some(None)),
            Purpose::Back => (Why::Back, None),
            Purpose::Elsewhere => (Why::Elsewhere, None),
        };
        self.model.questions.push(Question::new(id, self.model.now, who, namer, why, free));
    }

    fn wait(&mut self, seconds: u64) {
        let until = self.model.now + seconds;
        while let Some(next) = self.model.questions.first().map(|first| first.began + LONGEST).filter(|at| *at <= until)
        {
            self.model.pass(next - self.model.now);
            self.failed(0, false, true);
        }
        self.model.pass(until - self.model.now);
    }

    /// Whoever does not answer is dialed a few times a minute, whoever names it and however often.
    fn check_history(&self) {
        for first in &self.model.history {
            let (most, again) = first.account.0.allows(self.model.vain);
            let within = self.model.history.iter().filter(|dial| {
                dial.account == first.account && !dial.met && (first.when..first.when + again).contains(&dial.when)
            });
            let when: Vec<_> = within.map(|dial| (dial.question, dial.at, dial.when)).collect();
            // What was given back may have come back by time as well, as long as one question lasts.
            assert!(
                when.len() as u64 <= most + 1 + LONGEST / again,
                "{:?} is dialed too often: {when:?}",
                first.account
            );
        }
    }
}

fn socket(input: &mut Input<'_>) -> SocketAddr {
    let ip = ip(input);
    SocketAddr::new(ip, 1 + u16::from(input.flag()))
}

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (vain, limit_local) = (1 + input.below(5) as u32, input.flag());
    let mut both = Both { dials: Dials::new(vain, limit_local), model: Model::new(vain.into(), limit_local) };
    let mut sockets: Vec<SocketAddr> = vec![socket(&mut input), socket(&mut input)];
    while !input.is_empty() {
        let [what, which] = input.any::<[u8; 2]>();
        let nth = usize::from(which) % both.model.questions.len().max(1);
        let question = both.model.questions.get(nth).map(|question| question.id);
        let at = sockets[usize::from(which >> 4) % sockets.len()];
        match (what % 16, question) {
            (0..=3, _) => {
                let purpose = match what >> 4 {
                    0..=8 => Purpose::Ask(None),
                    9 => Purpose::Ask(Some(at.ip())),
                    10 => Purpose::Check(at.ip()),
                    11 => Purpose::Bootstrap,
                    12 => Purpose::Elsewhere,
                    _ => Purpose::Back,
                };
                // Peers and namers beside each other, some of whom are known otherwise.
                let namer = (what & 3 > 0).then_some(200 + (what & 3));
                both.begin(purpose, which, namer);
                // Most are dialed at once.
                if input.flag() {
                    both.may_dial(both.model.questions.len() - 1, at);
                }
            }
            (4 | 5, Some(_)) => {
                both.may_dial(nth, at);
            }
            (6, Some(id)) => {
                both.dials.on_met(both.now(), id, at);
                both.model.on_met(nth, at);
            }
            (7 | 8, Some(id)) => {
                let (from, judged) = ((what >= 128).then_some(at), what & 16 == 0);
                both.dials.answered(both.now(), id, from, judged);
                both.model.answered(nth, from, judged);
            }
            (9..=11, Some(_)) => both.failed(nth, what >= 224, what & 16 == 0),
            (12, _) => both.wait(u64::from(which)),
            (13, _) => both.wait(60 * u64::from(which)),
            (14, _) if what >= 240 => {
                both.dials.forget();
                both.model.forget();
            }
            (14, _) if sockets.len() < 4 => sockets.push(socket(&mut input)),
            _ => both.wait(u64::from(which & 7)),
        }
        for namer in 200..204 {
            assert_eq!(both.dials.is_heard(both.now(), &peer(namer)), both.model.is_heard(namer));
        }
    }
    both.check_history();
    // What is left of each budget.
    let namers = [Some(201), Some(202), Some(203), None];
    let mut who = 0u8;
    for at in sockets {
        let asks = namers.map(|namer| (Purpose::Ask(None), namer));
        for (purpose, namer) in asks.into_iter().chain([(Purpose::Elsewhere, None)]) {
            loop {
                who = who.wrapping_add(1);
                both.begin(purpose, who, namer);
                let last = both.model.questions.len() - 1;
                // Where it is free it may be dialed without end.
                if !both.may_dial(last, at) || both.model.questions[last].is_free(at) {
                    break;
                }
            }
        }
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let first = [3, 0, 0, 9, 0, 8, 9, 0];
    // Who is named, by 201, is asked at once, and does not answer; somebody else does.
    let named = |n: u8| vec![1, n, 1, 9, 0, 0, 200, 1, 7, 0];
    vec![
        [&first[..], &(0..10).flat_map(named).collect::<Vec<_>>()].concat(),
        [&first[..], &(0..10).flat_map(|n| [named(n), vec![13, 3]].concat()).collect::<Vec<_>>()].concat(),
        [&first[..], &(0..10).flat_map(|n| [0xd0, n, 1, 15, 1]).collect::<Vec<_>>(), &[7, 0, 7, 0, 13, 9]].concat(),
        [&first[..], &[2, 7, 1, 6, 0, 4, 0x10, 0x87, 0, 2, 7, 1, 12, 255, 14, 8, 1, 0, 0x42, 7, 1]].concat(),
    ]
}
