//! One caller, and a disk that fails at the n-th request, for every n there is.
//!
//! A scene begins with an image of a disk and does one thing after the other. After each it is known what the store
//! holds; what an operation that fails would have made of it was looked at from inside its own transaction.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::contents::Contents;
use super::steps::{A_LITTLE, Step, WORK, append};
use super::{IMAGE, PATIENCE, Told, Trial, every_fault, fixture, open, refuses_everything, survives, told, within};
use crate::db::{Asked, FailingDisk, Fault, Plan, Request};
use crate::inside::campaign::{report, seeds, with_seed};
use crate::planted::{Bug, with_bug};
use crate::{Result, Store};

struct Scene {
    name: &'static str,
    image: Vec<u8>,
    cache_bytes: usize,
    check_on_open: bool,
    /// Whether the disk can fail from the opening on, or only when the store is open.
    from_opening: bool,
    steps: &'static [Step],
    /// What the store holds when it is open.
    held: Contents,
}

impl Scene {
    fn new(name: &'static str, image: Vec<u8>, cache_bytes: usize, check_on_open: bool) -> Self {
        let disk = FailingDisk::of(image.clone());
        let held = open(&disk, 1 << 20, true).unwrap().read(Contents::of).unwrap();
        Self { name, image, cache_bytes, check_on_open, from_opening: true, steps: A_LITTLE, held }
    }

    fn work(name: &'static str, cache_bytes: usize) -> Self {
        Self { steps: WORK, from_opening: false, ..Self::new(name, fixture(2), cache_bytes, true) }
    }
}

/// All scenes. Without a cache everything is read and written when it is needed; with a large one, at the commit.
fn scenes() -> Vec<Scene> {
    let work = || {
        let disk = FailingDisk::of(fixture(2));
        let store = open(&disk, 1 << 20, true).unwrap();
        store.write(|tx| append(tx, "before the crash")).unwrap();
        disk.content()
    };
    // The engine's sign that a file was not closed.
    let crashed = |mut image: Vec<u8>| {
        image[9] |= 2;
        image
    };
    vec![
        Scene::new("creation", Vec::new(), 0, true),
        Scene::new("creation, all in the cache", Vec::new(), 1 << 20, true),
        Scene::new("opening", fixture(2), 0, true),
        Scene::new("opening without a check", fixture(2), 1 << 20, false),
        Scene::new("recovery", work(), 0, true),
        Scene::new("recovery, all in the cache", work(), 1 << 20, true),
        Scene::new("recovery without a check", work(), 0, false),
        Scene::new("migration", fixture(1), 0, true),
        Scene::new("migration, all in the cache", fixture(1), 1 << 20, true),
        Scene::new("migration after a crash", crashed(fixture(1)), 64 << 10, true),
        Scene::work("work", 0),
        Scene::work("work with a small cache", 64 << 10),
        Scene::work("work, all in the cache", 1 << 20),
    ]
}

/// What became of the fault that a case met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Met {
    Opening,
    Step(Told),
    /// Nobody has to be told: everything is done that was asked for.
    Closing,
    /// Nobody had to be told: the engine could do without.
    NotNeeded,
    /// The workload ended before it.
    NotAtAll,
}

/// Runs the scene on a disk that fails by this plan. The error is a violation.
fn run(scene: &Scene, plan: Option<Plan>) -> Result<(Met, Vec<Asked>), String> {
    let disk = FailingDisk::of(scene.image.clone());
    if scene.from_opening {
        disk.arm(plan);
    }
    let mut allowed = vec![scene.held.clone()];
    let mut met = Met::NotAtAll;
    match (open(&disk, scene.cache_bytes, scene.check_on_open), plan) {
        (Ok(store), _) => {
            if !scene.from_opening {
                disk.arm(plan);
            }
            if let Some(told) = work(&store, &disk, scene.steps, &mut allowed, plan)? {
                met = Met::Step(told);
            } else if disk.failed_at().is_some() {
                met = Met::NotNeeded;
            }
        }
        (Err(error), Some(plan)) if told(&error, plan.fault)? == Told::Io => met = Met::Opening,
        (Err(error), _) => return Err(format!("opening says {error:?}")),
    }
    if disk.failed_at().is_some() && met == Met::NotAtAll {
        met = Met::Closing;
    }
    let requests = disk.requests();
    let is_half_made = scene.image.is_empty() && met == Met::Opening;
    if let Some(plan) = plan.filter(|plan| plan.for_ever) {
        match open(&disk, scene.cache_bytes, scene.check_on_open) {
            Ok(store) if !is_half_made => is_one_of(&store.read(Contents::of).map_err(|e| e.to_string())?, &allowed)?,
            Err(error) if !is_half_made && told(&error, plan.fault)? != Told::Io => {
                return Err(format!("opened on the disk as it is: {error:?}"));
            }
            _ => {}
        }
    }
    disk.arm(None);
    if is_half_made {
        // No store yet: the file has no name that anybody would open. Whoever does gets an error, or an empty store.
        if let Ok(store) = open(&disk, scene.cache_bytes, true) {
            store.verify().map_err(|error| format!("half made, it opens: {error}"))?;
            is_one_of(&store.read(Contents::of).map_err(|e| e.to_string())?, &allowed)?;
        }
        return Ok((met, requests));
    }
    survives(&disk, |_, contents| is_one_of(&contents, &allowed))?;
    Ok((met, requests))
}

/// Does one thing after the other until one of them fails. Leaves in `allowed` what the store may hold then.
fn work(
    store: &Store,
    disk: &FailingDisk,
    steps: &[Step],
    allowed: &mut Vec<Contents>,
    plan: Option<Plan>,
) -> Result<Option<Told>, String> {
    for (number, step) in steps.iter().enumerate() {
        let held = allowed[0].clone();
        let (outcome, after) = take(store, disk, *step, &held);
        let error = match outcome {
            Ok(()) => {
                if matches!(step, Step::Write(_)) {
                    let after = after.ok_or_else(|| format!("step {number} says it is done and has not run"))?;
                    if after == held {
                        return Err(format!("step {number} says it is done and has done nothing"));
                    }
                    *allowed = vec![after];
                }
                continue;
            }
            Err(error) => error,
        };
        let fault = plan.ok_or_else(|| format!("step {number} fails on a disk that works: {error:?}"))?.fault;
        let told = told(&error, fault).map_err(|wrong| format!("step {number}: {wrong}"))?;
        if told == Told::Unknown {
            allowed.extend(after);
        }
        refuses_everything(store, fault).map_err(|wrong| format!("after step {number}, {error}: {wrong}"))?;
        return Ok(Some(told));
    }
    Ok(None)
}

/// Takes the step, and gives back what its transaction made of the store if it came to its end.
fn take(store: &Store, disk: &FailingDisk, step: Step, held: &Contents) -> (Result<()>, Option<Contents>) {
    match step {
        Step::Write(f) => {
            let (made, unwatched) = (Arc::new(Mutex::new(None)), disk.clone());
            let seen = Arc::clone(&made);
            let outcome = store.write(move |tx| {
                f(tx)?;
                *made.lock().unwrap() = Some(unwatched.unwatched(|| Contents::of(tx))?);
                Ok(())
            });
            let after = seen.lock().unwrap().take();
            (outcome, after)
        }
        Step::Read => {
            let answer = store.read(Contents::of);
            (answer.map(|found| assert!(found == *held, "wrong answer: {}", found.difference(held))), None)
        }
        Step::Verify => (store.verify(), None),
        Step::Count => {
            let answer = store.stats();
            (answer.map(|stats| assert_eq!(stats.messages, held.messages.len() as u64)), None)
        }
    }
}

fn is_one_of(found: &Contents, allowed: &[Contents]) -> Result<(), String> {
    if allowed.contains(found) {
        return Ok(());
    }
    let differences: Vec<_> = allowed.iter().map(|allowed| found.difference(allowed)).collect();
    Err(differences.join(", or "))
}

/// Every fault of every request that the scene makes, and how many those are.
fn trials(scene: &Scene, random: &mut fastrand::Rng) -> Result<(Vec<Trial>, usize), String> {
    let (_, requests) = run(scene, None).map_err(|wrong| format!("{}: {wrong}", scene.name))?;
    Ok((every_fault(&requests, random), requests.len()))
}

/// What the trial ends in, under the eyes of a watchdog.
fn attempt(scene: &Arc<Scene>, trial: Trial) -> Result<Met, String> {
    let (watched, plan) = (Arc::clone(scene), trial.plan);
    let met = within(PATIENCE, move || run(&watched, Some(plan)).map(|(met, _)| met));
    match met {
        Ok(Met::NotAtAll) => Err(format!("{}, {trial}: it did not come this time", scene.name)),
        met => met.map_err(|wrong| format!("{}, {trial}: {wrong}", scene.name)),
    }
}

#[test]
fn a_fault_at_any_request_loses_nothing_acknowledged_and_is_told() {
    let (mut requests, mut ends) = (0, BTreeMap::<Met, u64>::new());
    for seed in seeds(1) {
        with_seed(seed, |mut random| {
            for scene in scenes() {
                let scene = Arc::new(scene);
                let (trials, count) = trials(&scene, &mut random)?;
                requests += count;
                for trial in trials {
                    *ends.entry(attempt(&scene, trial)?).or_default() += 1;
                }
            }
            Ok(())
        });
    }
    let count = |met| ends.get(&met).copied().unwrap_or_default();
    let told = [Told::Io, Told::Unknown, Told::Refused].map(|told| count(Met::Step(told)));
    assert!(count(Met::Opening) > 0 && told[0] > 0 && told[1] > 0, "every stage is reached: {ends:?}");
    report(format_args!(
        "faults, one caller: {} at {requests} requests of {} scenes, 0 violations; told at opening {}, what failed {}, that \
         the commit is unknown {}, that the store refuses {}; not told at closing {}, where the engine can do without {}",
        ends.values().sum::<u64>(),
        scenes().len(),
        count(Met::Opening),
        told[0],
        told[1],
        told[2],
        count(Met::Closing),
        count(Met::NotNeeded),
    ));
}

/// The engine's header is what decides which commit is the last one, and it is not a page: it can be cut anywhere.
#[test]
fn a_header_cut_short_anywhere_leaves_the_commit_before_it_or_the_new_one() {
    let disk = FailingDisk::of(fixture(2));
    let store = open(&disk, 1 << 20, true).unwrap();
    store.write(|tx| append(tx, "before the crash")).unwrap();
    let scene = Arc::new(Scene::new("recovery, work and closing", disk.content(), 1 << 20, true));
    let (_, requests) = run(&scene, None).unwrap();
    let is_header = |asked: &Asked| asked.request == Request::Write && asked.bytes < 4_096;
    let (mut headers, mut cuts) = (0, 0);
    for (number, asked) in requests.into_iter().enumerate().filter(|(_, asked)| is_header(asked)) {
        headers += 1;
        for bytes in 1..asked.bytes {
            cuts += 1;
            let plan = Plan { after: number as u64, only: None, fault: Fault::ShortWrite(bytes), for_ever: false };
            attempt(&scene, Trial { request: asked.request, plan }).unwrap();
        }
    }
    assert!(headers > 3, "at recovery, work and closing");
    report(format_args!("faults, one caller: {headers} headers cut at each of their bytes, {cuts} cuts, 0 violations"));
}

/// In how many of the trials of this scene whose fault hit a commit the violation is seen with this bug in place.
fn seen(bug: Bug) -> (usize, usize) {
    let scene = Arc::new(Scene::work("work, all in the cache", 1 << 20));
    let (trials, _) = trials(&scene, &mut fastrand::Rng::new()).unwrap();
    let hits_a_commit = |trial: &Trial| attempt(&scene, *trial).unwrap() == Met::Step(Told::Unknown);
    let trials: Vec<_> = trials.into_iter().step_by(5).filter(hits_a_commit).collect();
    let is_seen =
        |trial: &&Trial| with_bug(Some(bug), || attempt(&scene, **trial)).is_err_and(|wrong| wrong.contains(IMAGE));
    (trials.iter().filter(is_seen).count(), trials.len())
}

#[test]
fn control_an_answer_before_the_commit_and_a_fault_taken_for_a_success_are_seen() {
    for bug in [Bug::AnswerBeforeCommit, Bug::FaultSwallowed] {
        let (seen, of) = seen(bug);
        report(format_args!("control of the faults: {bug:?} was seen in {seen} of {of} commits that failed"));
        assert!(seen > 0, "{of} commits failed, and nobody saw {bug:?}");
    }
}
