//! The judgement against a model: a ref that is pushed at random, deliveries that are late, reordered or never come, and a reconciler that
//! looks at random moments.

use proptest::prelude::*;
use slipway_model::RefEventId;

use super::*;

/// The state of that number; 0: the ref does not exist.
fn state(number: usize) -> State {
    (number > 0).then(|| format!("{number:040x}").parse().unwrap())
}

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The ref goes there; 0: it is deleted.
    Push(usize),
    /// The ref goes where it never was.
    PushNew,
    /// One of the deliveries on their way comes.
    Deliver(usize),
    /// One of them is lost.
    Lose(usize),
    /// The reconciler looks.
    Look,
}

#[derive(Clone, Debug)]
struct Push {
    before: State,
    after: State,
}

/// A build: the place that decides which tags move, what is built, and the push that it is for.
#[derive(Clone, Debug)]
struct Built {
    place: u64,
    commit: State,
    push: usize,
}

/// The provider, the log as the store keeps it, and what was built.
struct Model {
    pushes: Vec<Push>,
    on_their_way: Vec<usize>,
    log: Vec<LogEntry>,
    head: State,
    built: Vec<Built>,
    tag: Option<Built>,
    asked: usize,
}

fn short(state: &State) -> &str {
    state.as_ref().map_or("-", |commit| commit.as_str().trim_start_matches('0'))
}

fn told(push: &Push) -> String {
    format!("{}→{}", short(&push.before), short(&push.after))
}

impl Model {
    /// The pushes, and the log as it came about.
    fn story(&self) -> String {
        let pushes: Vec<String> = self.pushes.iter().map(told).collect();
        let entry = |entry: &LogEntry| {
            let push = Push { before: entry.before.clone(), after: entry.after.clone() };
            format!("{:?} {} {:?} {}", entry.origin, told(&push), entry.place, if entry.covered_by.is_some() { "covered" } else { "" })
        };
        format!("pushes {}\n  {}", pushes.join(" "), self.log.iter().map(entry).collect::<Vec<_>>().join("\n  "))
    }

    fn new() -> Self {
        let (pushes, log, built) = (Vec::new(), Vec::new(), Vec::new());
        Self { pushes, on_their_way: Vec::new(), log, head: state(1), built, tag: None, asked: 0 }
    }

    fn truth(&self) -> State {
        self.pushes.last().map_or(state(1), |push| push.after.clone())
    }

    fn append(&mut self, push: &Push, origin: Origin, place: Option<u64>, covered_by: Option<RefEventId>, skips: bool) -> u64 {
        let seq = self.log.len() as u64 + 1;
        let at = Timestamp::from_millis(seq.cast_signed());
        let (before, after) = (push.before.clone(), push.after.clone());
        self.log.push(LogEntry { id: RefEventId::new(), seq, before, after, origin, at, covered_by, place, skips });
        if place.is_none() && covered_by.is_none() {
            self.head = push.after.clone();
        }
        seq
    }

    /// Builds, and moves the tag as the registry does: never behind a later place.
    fn build(&mut self, push: usize, place: u64) {
        let commit = self.pushes[push].after.clone();
        if commit.is_none() {
            return;
        }
        let built = Built { place, commit, push };
        self.built.push(built.clone());
        if self.tag.as_ref().is_none_or(|tag| tag.place <= place) {
            self.tag = Some(built);
        }
    }

    fn deliver(&mut self, index: usize) {
        let push = self.pushes[index].clone();
        let now = Timestamp::from_millis(1000);
        let history = History { log: self.log.clone(), head: Some(self.head.clone()) };
        let standing = match history.judge(&push.before, &push.after, &Truth::NotAsked, now) {
            Standing::Doubtful => {
                self.asked += 1;
                history.judge(&push.before, &push.after, &Truth::Is(self.truth()), now)
            }
            other => other,
        };
        match standing {
            Standing::New { skips } => {
                let seq = self.append(&push, Origin::Delivery, None, None, skips);
                self.build(index, seq);
            }
            Standing::Overtaken { place } => {
                self.append(&push, Origin::Delivery, Some(place), None, false);
                self.build(index, place);
            }
            Standing::Found(found) => {
                self.append(&push, Origin::Delivery, Some(found.place), Some(found.event), false);
            }
            Standing::Outdated { .. } => {
                self.append(&push, Origin::Delivery, Some(0), None, false);
            }
            Standing::Doubtful => panic!("it was asked"),
        }
    }

    fn look(&mut self) {
        let truth = self.truth();
        if truth != self.head {
            let found = Push { before: self.head.clone(), after: truth };
            let seq = self.append(&found, Origin::Reconcile, None, None, false);
            self.build(self.pushes.len() - 1, seq);
        }
    }

    /// The first push from `at_least` on that the tag can be said to stand at. Pushes of the same content are one and the same to everybody.
    fn tag_stands_at(&self, at_least: usize) -> Option<usize> {
        let Some(tag) = &self.tag else { return Some(0) };
        let push = &self.pushes[tag.push];
        (at_least..self.pushes.len()).find(|index| self.pushes[*index].after == push.after)
    }

    fn push(&mut self, after: State) {
        if after != self.truth() {
            self.on_their_way.push(self.pushes.len());
            self.pushes.push(Push { before: self.truth(), after });
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Push(number) => self.push(state(number)),
            Step::PushNew => self.push(state(100 + self.pushes.len())),
            Step::Deliver(which) if !self.on_their_way.is_empty() => {
                let index = self.on_their_way.remove(which % self.on_their_way.len());
                self.deliver(index);
            }
            Step::Lose(which) if !self.on_their_way.is_empty() => {
                self.on_their_way.remove(which % self.on_their_way.len());
            }
            Step::Deliver(_) | Step::Lose(_) => {}
            Step::Look => self.look(),
        }
    }

    /// Pushes of the same commit are one and the same to everybody: there are no more builds of it than there were pushes.
    fn nothing_is_built_twice(&self) {
        let same = |one: &Push, other: &Push| one.after == other.after;
        for push in &self.pushes {
            let pushed = self.pushes.iter().filter(|other| same(push, other)).count();
            let built = self.built.iter().filter(|built| same(push, &self.pushes[built.push])).count();
            assert!(built <= pushed, "{}\n{} was pushed {pushed} times and built {built} times", self.story(), told(push));
        }
    }
}

/// Goes through the steps; after each of them nothing was built twice.
fn run(steps: &[Step], mut check: impl FnMut(&Model, Step)) -> Model {
    let mut model = Model::new();
    for step in steps {
        model.step(*step);
        model.nothing_is_built_twice();
        check(&model, *step);
    }
    model
}

/// Whatever is still on its way comes, the reconciler looks, and the newest state is built.
fn finish(mut model: Model) {
    while !model.on_their_way.is_empty() {
        model.step(Step::Deliver(0));
    }
    for _ in 0..2 {
        model.step(Step::Look);
    }
    assert_eq!(model.head, model.truth());
    model.nothing_is_built_twice();
    // A ref that is back where it was when we first looked has nothing new, if nobody told that it was away.
    if model.truth().is_some() && (model.tag.is_some() || model.truth() != state(1)) {
        let commit = model.tag.as_ref().map(|tag| tag.commit.clone());
        assert_eq!(commit, Some(model.truth()), "the newest state is built\n{}", model.story());
    }
}

fn steps(push: impl Strategy<Value = Step>) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => push,
        4 => any::<usize>().prop_map(Step::Deliver),
        1 => any::<usize>().prop_map(Step::Lose),
        1 => Just(Step::Look),
    ];
    proptest::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Every push is a new commit, or removes the ref: no tag ever goes back, whatever is late, lost or in another order.
    #[test]
    fn forward(steps in steps(prop_oneof![5 => Just(Step::PushNew), 1 => Just(Step::Push(0))])) {
        let mut stood = 0_usize;
        finish(run(&steps, |model, step| {
            let stands = model.tag_stands_at(stood);
            stood = stands.unwrap_or_else(|| panic!("{}\nwith {step:?} the tag went back behind {stood}", model.story()));
        }));
    }

    /// Few states: the ref goes back and forth, as force pushes do, and old deliveries look like new ones.
    #[test]
    fn back_and_forth(steps in steps((0_usize..5).prop_map(Step::Push))) {
        finish(run(&steps, |_, _| {}));
    }

    /// The same, with deliveries that come in order when they come: then no tag goes back either.
    #[test]
    fn back_and_forth_in_order(steps in steps((0_usize..5).prop_map(Step::Push))) {
        let in_order = steps.into_iter().map(|step| if let Step::Deliver(_) = step { Step::Deliver(0) } else { step });
        let mut stood = 0_usize;
        finish(run(&in_order.collect::<Vec<_>>(), |model, step| {
            let stands = model.tag_stands_at(stood);
            stood = stands.unwrap_or_else(|| panic!("{}\nwith {step:?} the tag went back behind {stood}", model.story()));
        }));
    }
}
