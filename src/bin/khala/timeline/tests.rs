#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that goes wrong is to stop at once")]

use std::time::Duration;

use khala::{AgentId, Claim, ManualClock, NewMessage, NewTask, Store, TaskFilter, ThreadId, ThreadStatus, Timestamp};
use proptest::prelude::*;

use super::picture::draw;
use super::scene::{LANES_MAX, Scene, lanes};

struct World {
    store: Store,
    clock: ManualClock,
    thread: ThreadId,
}

impl World {
    fn new(workflow: &str) -> Self {
        let clock = ManualClock::new("2026-03-02T09:00:00Z".parse::<Timestamp>().unwrap());
        let store = Store::builder().clock(clock.clone()).in_memory().unwrap();
        let thread = store.create_thread(workflow, "ada").unwrap().id;
        Self { store, clock, thread }
    }

    fn wait(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    fn add(&self, task: NewTask) {
        self.store.create_task(self.thread, task).unwrap();
    }

    fn claim(&self, agent: &str, role: &str) -> Claim {
        let filter = TaskFilter::new().role(role);
        self.store.claim_next(&AgentId::new(agent).unwrap(), &filter).unwrap().unwrap()
    }

    fn say(&self, agent: &str, role: &str, content: &str) {
        let message = NewMessage::new(role, content).agent(&AgentId::new(agent).unwrap());
        self.store.append_message(self.thread, message).unwrap();
    }

    fn complete(&self, claim: &Claim) {
        self.say(claim.task.claimed_by.as_ref().unwrap().as_str(), &claim.task.role, "Done.");
        assert!(self.store.complete_task(claim.task.id, claim.id).unwrap());
    }

    fn scene(&self) -> Scene {
        self.store.verify().unwrap();
        Scene::of(&self.store, self.thread).unwrap().unwrap()
    }

    fn picture(&self) -> Picture {
        Picture::of(&draw(&self.scene()))
    }
}

/// A picture, and what stands in it.
struct Picture {
    svg: String,
    texts: Vec<String>,
    tooltips: Vec<String>,
    bars: Vec<String>,
    marks: usize,
    height: usize,
}

impl Picture {
    /// Reads it as strictly as XML wants to be read.
    fn of(svg: &str) -> Self {
        let document = roxmltree::Document::parse(svg).unwrap();
        let named = |name: &'static str| document.descendants().filter(move |node| node.has_tag_name((SVG, name)));
        let text = |node: roxmltree::Node<'_, '_>| node.text().unwrap_or_default().trim().to_owned();
        let in_lanes = |name: &'static str| {
            named(name).filter(|node| node.parent().unwrap().parent().unwrap().has_tag_name((SVG, "g")))
        };
        let class = |node: roxmltree::Node<'_, '_>| node.attribute("class").map(ToOwned::to_owned);
        let bars = in_lanes("rect").chain(in_lanes("line")).filter_map(class).collect();
        let marks = in_lanes("circle").count();
        let height = document.root_element().attribute("height").unwrap().parse().unwrap();
        let numbers = document
            .descendants()
            .flat_map(|node| node.attributes())
            .filter(|attribute| ["x", "x1", "x2", "cx", "width"].contains(&attribute.name()));
        for number in numbers {
            let value: f64 = number.value().parse().unwrap();
            assert!((0.0..=1_202.0).contains(&value), "{} is outside of the picture: {value}", number.name());
        }
        Self {
            texts: named("text").map(text).collect(),
            tooltips: named("title").map(text).collect(),
            bars,
            marks,
            height,
            svg: svg.into(),
        }
    }

    fn has_tooltip(&self, part: &str) -> bool {
        self.tooltips.iter().any(|tooltip| tooltip.contains(part))
    }
}

const SVG: &str = "http://www.w3.org/2000/svg";

/// A morning in which everything happens that can be drawn.
fn release() -> World {
    let world = World::new("Release notes for version 2");
    world
        .store
        .append_message(world.thread, NewMessage::new("user", "Version 2 waits instead of polling. Tell people."))
        .unwrap();
    world.wait(4);
    world.add(NewTask::new("planner", "Split the work.").key("plan"));
    let plan = world.claim("planner-1", "planner");
    world.wait(21);
    world.say("planner-1", "planner", "Three parts, then a review.");
    for part in ["news", "upgrade", "thanks"] {
        let task = NewTask::new("writer", format!("Write the part about {part}.")).key(part);
        world.add(task.timeout_seconds(60).max_attempts(2));
    }
    world.complete(&plan);
    world.wait(3);
    let news = world.claim("writer-1", "writer");
    world.wait(2);
    world.claim("writer-2", "writer"); // it crashes over this one
    world.wait(38);
    world.say("writer-1", "writer", "I have a question about the dates.");
    world.wait(12);
    world.complete(&news);
    world.wait(4);
    let thanks = world.claim("writer-1", "writer");
    world.wait(25);
    let upgrade = world.claim("writer-3", "writer");
    world.wait(10);
    world.complete(&thanks);
    world.add(NewTask::new("translator", "Translate it into Esperanto.").key("esperanto").max_attempts(1));
    let esperanto = world.claim("translator-1", "translator");
    world.wait(26);
    assert!(world.store.fail_task(esperanto.task.id, esperanto.id, "the model knows no Esperanto").unwrap());
    world.wait(5);
    world.complete(&upgrade);
    world.add(NewTask::new("reviewer", "Read all of it.").key("review").timeout_seconds(45));
    world.add(NewTask::new("illustrator", "Draw a cover.").key("cover"));
    world.wait(2);
    world.claim("reviewer-1", "reviewer"); // it has timed out by the end, and nobody took it away
    world.wait(14);
    let cover = world.store.tasks(&TaskFilter::new().role("illustrator")).unwrap().items[0].id;
    assert!(world.store.cancel_task(cover).unwrap());
    world.wait(38);
    let evening = "2026-03-02T18:00:00Z".parse().unwrap();
    world.add(NewTask::new("publisher", "Send it to everybody.").key("send").not_before(evening));
    world.add(NewTask::new("writer", "Write a short version.").key("short"));
    world.wait(9);
    world
        .store
        .claim_task(world.store.open_tasks(1).unwrap()[0].id, &AgentId::new("writer-2").unwrap())
        .unwrap()
        .unwrap();
    world.add(NewTask::new("reviewer", "Read the short version.").key("review-short"));
    world.wait(30);
    world
}

/// Without what is random in ids: the second half, which tells those of one millisecond apart.
fn with_plain_ids(svg: &str, world: &World) -> String {
    let scene = world.scene();
    let ids = scene.tasks.iter().map(|task| task.id.to_string()).chain([world.thread.to_string()]);
    ids.fold(svg.to_owned(), |svg, id| svg.replace(&id, &format!("{}{}", &id[..10], "0".repeat(16))))
}

/// The picture in the documents is what is drawn today. `SNAPSHOTS=overwrite` draws it anew.
#[test]
fn the_picture_in_the_documents_is_that_of_a_morning_in_which_everything_happens() {
    let world = release();
    let picture = world.picture();
    snapbox::assert_data_eq!(
        with_plain_ids(&picture.svg, &world),
        snapbox::file!["../../../../docs/images/timeline.svg": Text].raw()
    );
    for class in ["completed", "failed", "stopped", "claimed", "timedout", "late", "waiting", "waiting dotted"] {
        assert!(picture.bars.iter().any(|bar| bar == class), "there is something {class}: {:?}", picture.bars);
    }
    assert_eq!(picture.marks, 7);
    for name in ["no agent", "planner-1", "writer-1", "writer-2", "writer-3", "translator-1", "reviewer-1"] {
        assert!(picture.texts.iter().any(|text| text == name), "{name} has a lane");
    }
    assert!(
        picture.has_tooltip("writer: Write the part about upgrade.\ncompleted after 41 s in hand\nattempts: 2 of 2")
    );
    assert!(picture.has_tooltip("last error: the model knows no Esperanto"));
    assert!(picture.has_tooltip("the claim has timed out and can be taken away"));
    assert!(picture.has_tooltip("scheduled for 2026-03-02T18:00:00"));
    assert!(
        picture.has_tooltip("planner (planner-1), step 0, 2026-03-02T09:00:25.000000Z\nThree parts, then a review.")
    );
}

#[test]
fn the_same_thread_gives_the_same_picture_and_time_alone_moves_an_active_one() {
    let world = release();
    let first = draw(&world.scene());
    assert_eq!(first, draw(&world.scene()));
    world.wait(60);
    assert_ne!(first, draw(&world.scene()));
    world.store.finish_thread(world.thread, ThreadStatus::Failed, None).unwrap();
    let finished = draw(&world.scene());
    world.wait(60);
    assert_eq!(finished, draw(&world.scene()), "a finished thread ends where it ended");
}

#[test]
fn a_thread_in_which_nothing_happened_says_so() {
    let world = World::new("nothing");
    let picture = world.picture();
    assert!(picture.texts.iter().any(|text| text == "No tasks and no messages yet."));
    assert_eq!((picture.bars.len(), picture.marks), (0, 0));
}

#[test]
fn a_thread_of_one_moment_has_an_axis() {
    let world = World::new("quick");
    world.add(NewTask::new("writer", "Be quick."));
    let claim = world.claim("writer-1", "writer");
    world.complete(&claim);
    world.store.finish_thread(world.thread, ThreadStatus::Completed, None).unwrap();
    let picture = world.picture();
    assert_eq!((picture.bars.as_slice(), picture.marks), (["completed".to_owned()].as_slice(), 1));
    assert!(picture.texts.iter().any(|text| text == "09:00:00.400"), "{:?}", picture.texts);
    assert!(picture.texts.iter().any(|text| text.ends_with("opened by ada · 2026-03-02 09:00:00 UTC")));
}

#[test]
fn a_thousand_tasks_of_fifty_agents_are_all_there_and_the_picture_stays_low() {
    let world = World::new("many");
    for number in 0..1_000 {
        world.add(NewTask::new("worker", format!("Do number {number}.")).timeout_seconds(100_000));
        let claim = world.claim(&format!("worker-{}", number % 50), "worker");
        world.wait(number % 7);
        if number % 10 > 0 {
            world.complete(&claim);
        }
    }
    for number in 0..500 {
        world.add(NewTask::new("nobody", format!("Wait for number {number}.")));
    }
    let picture = world.picture();
    assert_eq!(picture.marks, 900);
    assert_eq!(picture.bars.iter().filter(|class| *class == "completed").count(), 900);
    assert_eq!(picture.bars.iter().filter(|class| *class == "waiting").count(), 500);
    assert!(picture.height < 3_000, "{} pixels", picture.height);
    assert!(picture.texts.iter().any(|text| text.ends_with("stand behind others")));
    assert!(picture.svg.len() < 2_000_000, "{} bytes", picture.svg.len());
}

#[test]
fn agents_beyond_the_bound_share_a_lane_and_nothing_is_left_out() {
    let world = World::new("crowd");
    for number in 0..200 {
        world.say(&format!("agent-{number:03}"), "talker", "I am here.");
        world.wait(1);
    }
    let scene = world.scene();
    let lanes = lanes(&scene);
    assert_eq!(lanes.len(), LANES_MAX - 1);
    assert_eq!(lanes.iter().map(|lane| lane.messages.len()).sum::<usize>(), 200);
    let picture = world.picture();
    assert!(picture.texts.iter().any(|text| text == "142 more agents"), "{:?}", picture.texts);
    assert_eq!(picture.marks, 200);
}

#[test]
fn a_name_of_256_bytes_is_shortened_and_whole_in_the_tooltip() {
    let name = "ß".repeat(128);
    let world = World::new(&name);
    world.say(&name, &name, "Hello.");
    let picture = world.picture();
    assert!(picture.texts.iter().all(|text| text.chars().count() <= 120), "{:?}", picture.texts);
    assert!(picture.has_tooltip(&name));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_becomes_a_picture_that_xml_can_read(
        name in "\\PC{1,60}|.{1,60}|[\u{0}-\u{20}<>&'\"\u{fffe}\u{ffff}\u{202e}a-c]{1,60}",
        text in proptest::collection::vec(any::<char>(), 0..600).prop_map(String::from_iter),
    ) {
        let name: String = name.chars().take(60).collect();
        let world = World::new(&name);
        world.add(NewTask::new(&name, &text).key(&name));
        world.add(NewTask::new(&name, "</title><script>alert(1)</script>"));
        let claim = world.claim(&name, &name);
        world.wait(5);
        world.say(&name, &name, &text);
        assert!(world.store.fail_task(claim.task.id, claim.id, &text).unwrap());
        world.wait(5);
        let picture = world.picture();
        assert!(!picture.svg.contains("<script"));
        assert!(picture.has_tooltip("<script>alert(1)</script>"), "as text it is there");
    }
}
