//! The picture itself, as SVG.
//!
//! ```text
//!   title                                                        (workflow)
//!   id, status, from when to when
//!   legend                                                       (what there is, and how much of it)
//!              │ 12:00      │ 12:01      │ 12:02                 (axis)
//!   writer-1   │  ●   ▇▇▇▇▇▇▇▇▇▇  ▇▇▇▇     ●                     (lane: messages above, bars in rows)
//!              │       ▇▇▇▇▇▇
//! ```
//!
//! Colours are set by classes, for light and for dark surroundings, and tell of no more than the tooltips do. Texts of others
//! get there as text nodes alone, which the SVG crate escapes.

use svg::Document;
use svg::node::element::{Circle, Definitions, Description, Group, Line, Rectangle, Style, Text, Title};
use unicode_width::UnicodeWidthStr as _;

use super::axis::{Axis, duration, range};
use super::scene::{Bar, Ending, Lane, Owner, Scene, lanes};
use crate::text::harmless;

const WIDTH: i32 = 1_200;
const GUTTER: i32 = 190;
const MARGIN: i32 = 20;
const HEADER: i32 = 96;
const AXIS: i32 = 24;
const ROW: i32 = 16;
const BAR: i32 = 12;
const MARKS: i32 = 18;
const LANE_PADDING: i32 = 8;

/// How wide a column of text is, in tenths of a pixel: of small letters, and of the title's.
const COLUMN_TENTHS: usize = 65;
const NAME_COLUMNS: usize = 24;
const TITLE_COLUMNS: usize = 90;
const LABEL_COLUMNS: usize = 48;
const LABEL_COLUMNS_MIN: usize = 6;
const TOOLTIP_CHARS: usize = 240;

const STYLE: &str = "\
text { font: 12px system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: #24292f; }
.title { font-size: 18px; font-weight: 600; }
.small { font-size: 11px; fill: #57606a; }
.inside { font-size: 10px; fill: #ffffff; pointer-events: none; }
.role { font-size: 10px; fill: #57606a; }
.paper { fill: #ffffff; }
.lane { fill: #f6f8fa; }
.grid { stroke: #d0d7de; stroke-width: 1; }
.message { fill: #6639ba; stroke: #ffffff; stroke-width: 1; }
.completed { fill: #1a7f4b; }
.failed { fill: #c93c37; }
.cancelled { fill: #8c959f; }
.claimed { fill: #0969da; }
.timedout { fill: #bf6a02; }
.late { fill: #bf6a02; fill-opacity: 0.45; }
.waiting { stroke: #9a6700; stroke-width: 2; }
.stopped { stroke: #8c959f; stroke-width: 2; }
.dotted { stroke-dasharray: 2 3; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; }
.small, .role { fill: #9198a1; }
.inside { fill: #0d1117; }
.paper { fill: #0d1117; }
.lane { fill: #161b22; }
.grid { stroke: #30363d; }
.message { fill: #b78cff; stroke: #0d1117; }
.completed { fill: #3fb971; }
.failed { fill: #f47067; }
.cancelled { fill: #768390; }
.claimed { fill: #539bf5; }
.timedout, .late { fill: #e0953f; }
.waiting { stroke: #d4a72c; }
.stopped { stroke: #768390; }
}";

/// A scene as an SVG document.
pub(crate) fn draw(scene: &Scene) -> String {
    let lanes = lanes(scene);
    let (from, to) = scene.range();
    let axis = Axis::new(from, to, GUTTER, WIDTH - GUTTER - MARGIN);
    let heights: Vec<i32> = lanes.iter().map(height).collect();
    let bottom = HEADER + AXIS + heights.iter().sum::<i32>();
    let total = bottom + MARGIN + if lanes.is_empty() { 2 * ROW } else { 0 };

    let mut document = Document::new()
        .set("viewBox", (0, 0, WIDTH, total))
        .set("width", WIDTH)
        .set("height", total)
        .set("role", "img")
        .add(Title::new(shown(&format!("{}: the timeline of a thread", scene.thread.workflow), TITLE_COLUMNS)))
        .add(Description::new().add(svg::node::Text::new(summary(scene))))
        .add(Definitions::new().add(Style::new(STYLE)))
        .add(rectangle(0.0, 0, f64::from(WIDTH), total).set("class", "paper"))
        .add(header(scene));
    let mut y = HEADER + AXIS;
    for (number, height) in heights.iter().enumerate() {
        if number % 2 == 0 {
            document = document.add(rectangle(0.0, y, f64::from(WIDTH), *height).set("class", "lane"));
        }
        y += height;
    }
    document = document.add(grid(&axis, bottom.max(HEADER + AXIS + ROW)));
    let mut y = HEADER + AXIS;
    for (lane, height) in lanes.iter().zip(&heights) {
        document = document.add(draw_lane(lane, scene, &axis, y, *height));
        y += height;
    }
    if lanes.is_empty() {
        document = document.add(text("No tasks and no messages yet.", GUTTER, y + 2 * ROW, "small"));
    }
    format!("{document}\n")
}

fn height(lane: &Lane<'_>) -> i32 {
    let rows = i32::try_from(lane.rows).unwrap_or(i32::MAX / ROW);
    let marks = if lane.messages.is_empty() { 0 } else { MARKS };
    (rows * ROW + marks).max(ROW) + LANE_PADDING
}

/// Title, what thread it is, and the legend.
fn header(scene: &Scene) -> Group {
    let thread = &scene.thread;
    let (from, to) = scene.range();
    let by = shown(&thread.initiator, NAME_COLUMNS);
    let line = format!("{}, {} · opened by {by} · {}", thread.id, thread.status, range(from, to));
    let title = titled(text(&shown(&thread.workflow, TITLE_COLUMNS), MARGIN, 32, "title"), &tooltip(&thread.workflow));
    let mut header = Group::new().add(title).add(text(&line, MARGIN, 54, "small"));

    let count = |ending: Ending| scene.tasks.iter().filter(|task| Ending::of(task, scene.now) == ending).count();
    let endings =
        [Ending::Completed, Ending::Failed, Ending::Cancelled, Ending::Claimed, Ending::TimedOut, Ending::Waiting];
    let mut x = MARGIN;
    let entries = endings.into_iter().map(|ending| (ending.class(), ending.words(), count(ending)));
    for (class, words, number) in entries.chain([("message", "message", scene.messages.len())]) {
        if number == 0 {
            continue;
        }
        let (left, middle) = (f64::from(x), 78);
        header = match class {
            "message" => header.add(mark(left + 5.0, middle)),
            "waiting" => header.add(line_between(left, left + 12.0, middle).set("class", class)),
            _ => header.add(rectangle(left, middle - 5, 12.0, 10).set("class", class).set("rx", 2)),
        };
        let words = if class == "message" && number != 1 { "messages" } else { words };
        let label = format!("{words} {number}");
        header = header.add(text(&label, x + 18, middle + 4, "small"));
        x += 18 + pixels(label.width()) + 20;
    }
    header
}

fn grid(axis: &Axis, bottom: i32) -> Group {
    axis.ticks().iter().fold(Group::new(), |grid, tick| {
        let line = Line::new().set("x1", tick.x).set("x2", tick.x).set("y1", HEADER + AXIS - 6).set("y2", bottom);
        let label = Text::new(&tick.label).set("x", tick.x).set("y", HEADER + AXIS - 10).set("class", "small");
        grid.add(line.set("class", "grid")).add(label.set("text-anchor", "middle"))
    })
}

fn draw_lane(lane: &Lane<'_>, scene: &Scene, axis: &Axis, top: i32, height: i32) -> Group {
    let (name, whole): (String, String) = match lane.owner {
        Owner::Nobody => ("no agent".into(), "said without an agent, and tasks that nobody has".into()),
        Owner::Agent(name) => (shown(name, NAME_COLUMNS), name.into()),
        Owner::Others(number) => (format!("{number} more agents"), "agents that began later than those above".into()),
    };
    let whole = format!("{whole}: {}, {}", count(lane.bars.len(), "task"), count(lane.messages.len(), "message"));
    let middle = top + height / 2 + 4;
    let mut group = Group::new().add(titled(text(&name, MARGIN, middle, "name"), &tooltip(&whole)));
    let crowded = lane.crowded();
    if crowded > 0 {
        let words = format!("{crowded} stand behind others");
        group = group.add(text(&words, MARGIN, middle + ROW - 2, "small"));
    }
    let mut first_row = top + LANE_PADDING / 2;
    if !lane.messages.is_empty() {
        group = draw_messages(group, lane, axis, first_row + MARKS / 2);
        first_row += MARKS;
    }
    for bar in &lane.bars {
        let row = i32::try_from(bar.row).unwrap_or_default();
        group = group.add(draw_bar(bar, scene, axis, first_row + row * ROW));
    }
    group
}

/// The messages of a lane; beside each its role, as far as there is room before the next.
fn draw_messages(group: Group, lane: &Lane<'_>, axis: &Axis, middle: i32) -> Group {
    let places: Vec<f64> = lane.messages.iter().map(|message| axis.x(message.created_at)).collect();
    let ends = places.iter().skip(1).copied().chain([f64::from(WIDTH)]);
    lane.messages.iter().zip(places.iter().zip(ends)).fold(group, |group, (message, (x, end))| {
        let mark = titled(Group::new().add(mark(*x, middle)), &message_tooltip(message));
        let role = shown(&message.role, NAME_COLUMNS);
        let room = end - x - 12.0;
        if f64::from(pixels(role.width())) > room {
            return group.add(mark);
        }
        group.add(mark).add(Text::new(role).set("x", x + 7.0).set("y", middle + 3).set("class", "role"))
    })
}

fn draw_bar(bar: &Bar<'_>, scene: &Scene, axis: &Axis, top: i32) -> Group {
    let (left, right) = (axis.x(bar.from), axis.x(bar.to));
    let width = (right - left).max(2.0);
    let mut group = Group::new();
    if bar.task.claimed_at.is_none() {
        let class = if bar.ending == Ending::Waiting { "waiting" } else { "stopped" };
        let is_later = bar.task.not_before.is_some_and(|moment| moment > scene.now);
        let class = if is_later { format!("{class} dotted") } else { class.into() };
        group = group.add(line_between(left, left + width, top + BAR / 2).set("class", class));
        // A line is hard to point at.
        group = group.add(rectangle(left, top, width, BAR).set("fill-opacity", 0));
    } else {
        let timeout = bar.task.expires_at.filter(|_| bar.ending == Ending::TimedOut);
        let until = timeout.map_or(left + width, |moment| axis.x(moment).max(left + 2.0));
        group = group.add(rectangle(left, top, until - left, BAR).set("class", bar.ending.class()).set("rx", 2));
        if until < left + width {
            group = group.add(rectangle(until, top, left + width - until, BAR).set("class", "late"));
        }
        if let Some(label) = label(bar, width) {
            group = group.add(Text::new(label).set("x", left + 4.0).set("y", top + BAR - 3).set("class", "inside"));
        }
    }
    titled(group, &task_tooltip(bar, scene))
}

/// What stands in a bar of this width: which task it is, and which attempt if it is not the first.
fn label(bar: &Bar<'_>, width: f64) -> Option<String> {
    let task = bar.task;
    let attempt = if task.attempts > 1 { format!(" ×{}", task.attempts) } else { String::new() };
    let room = (LABEL_COLUMNS_MIN..=LABEL_COLUMNS).rev().find(|columns| f64::from(pixels(*columns)) + 6.0 < width)?;
    let name = task.key.as_deref().filter(|key| key.width() <= room).unwrap_or(&task.instruction);
    Some(shown(name, room.saturating_sub(attempt.width())) + &attempt)
}

fn task_tooltip(bar: &Bar<'_>, scene: &Scene) -> String {
    let task = bar.task;
    let mut lines = vec![format!("{}: {}", task.role, beginning(&task.instruction))];
    let ended = if task.finished_at.is_some() { bar.to } else { scene.now.max(bar.from) };
    let took = duration(ended.as_micros() - bar.from.as_micros());
    lines.push(match (bar.ending, task.claimed_at.is_some()) {
        (Ending::Waiting, _) if task.status == khala::TaskStatus::Scheduled => {
            format!("scheduled for {}", task.not_before.map(|moment| moment.to_string()).unwrap_or_default())
        }
        (Ending::Waiting, _) => format!("open for {took}"),
        (Ending::TimedOut, _) => format!("claimed {took} ago; the claim has timed out and can be taken away"),
        (Ending::Claimed, _) => format!("claimed for {took}"),
        (ending, true) => format!("{} after {took} in hand", ending.words()),
        (ending, false) => format!("{} after {took}", ending.words()),
    });
    let most = task.max_attempts.map(|most| format!(" of {most}")).unwrap_or_default();
    lines.push(format!("attempts: {}{most}", task.attempts));
    lines.extend(task.last_error.as_ref().map(|error| format!("last error: {}", beginning(error))));
    lines.extend(task.key.as_ref().map(|key| format!("key: {key}")));
    lines.push(format!("task {}", task.id));
    tooltip(&lines.join("\n"))
}

fn message_tooltip(message: &khala::Message) -> String {
    let by = message.agent_id.as_ref().map(|agent| format!(" ({agent})")).unwrap_or_default();
    let head = format!("{}{by}, step {}, {}", message.role, message.step, message.created_at);
    tooltip(&format!("{head}\n{}", beginning(&message.content)))
}

/// What somebody hears who cannot see the picture.
fn summary(scene: &Scene) -> String {
    let (tasks, messages) = (count(scene.tasks.len(), "task"), count(scene.messages.len(), "message"));
    format!("Thread {}, {}: {tasks}, {messages}.", scene.thread.id, scene.thread.status)
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn rectangle(x: f64, y: i32, width: f64, height: i32) -> Rectangle {
    Rectangle::new().set("x", rounded(x)).set("y", y).set("width", rounded(width)).set("height", height)
}

fn line_between(left: f64, right: f64, y: i32) -> Line {
    Line::new().set("x1", rounded(left)).set("x2", rounded(right)).set("y1", y).set("y2", y)
}

fn mark(x: f64, y: i32) -> Circle {
    Circle::new().set("cx", rounded(x)).set("cy", y).set("r", 4).set("class", "message")
}

fn text(content: &str, x: i32, y: i32, class: &str) -> Text {
    Text::new(content).set("x", x).set("y", y).set("class", class)
}

/// The element with a tooltip, which viewers want to see first.
fn titled<T: svg::Node>(mut element: T, tooltip: &str) -> T {
    element.append(Title::new(tooltip));
    element
}

/// Two digits behind the point: more is not seen, and less of it is written.
fn rounded(pixels: f64) -> f64 {
    (pixels * 100.0).round() / 100.0
}

/// How wide so many columns of text are.
fn pixels(columns: usize) -> i32 {
    i32::try_from(columns * COLUMN_TENTHS / 10).unwrap_or(i32::MAX)
}

/// The beginning of a text of any length.
fn beginning(text: &str) -> String {
    match text.char_indices().nth(TOOLTIP_CHARS) {
        Some((end, _)) => text.get(..end).unwrap_or_default().to_owned() + "…",
        None => text.into(),
    }
}

/// A text of others as XML can have it.
fn tooltip(text: &str) -> String {
    harmless(text).replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}")
}

/// A text of others in one line and in so many columns.
fn shown(text: &str, columns: usize) -> String {
    let line = tooltip(text).split_whitespace().collect::<Vec<_>>().join(" ");
    if line.width() <= columns {
        return line;
    }
    let mut cut = String::new();
    for character in line.chars() {
        cut.push(character);
        if cut.width() >= columns {
            cut.pop();
            break;
        }
    }
    cut + "…"
}
