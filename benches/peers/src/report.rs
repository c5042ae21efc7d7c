//! The report: tables in Markdown, with charts and the raw figures beside them.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::chart;
use crate::format::{grouped, in_unit, ratio};
use crate::measure::{Measure, Place, Results, Unit};
use crate::peer::PeerName;

const WRITES: [Measure; 4] =
    [Measure::ClaimComplete, Measure::CreateClaimComplete, Measure::Append256, Measure::Append4k];

const SINGLE: [Measure; 7] = [
    Measure::Drain,
    Measure::ReadAll,
    Measure::ReadLast,
    Measure::ReadStep,
    Measure::OpenTasks,
    Measure::ExpireDue,
    Measure::ExpireNone,
];

const STORAGE: [Measure; 8] = [
    Measure::LoadTime,
    Measure::LoadMemory,
    Measure::DiskBytes,
    Measure::ReopenClean,
    Measure::ReopenKilled,
    Measure::ReopenCheckpointed,
    Measure::ReopenCleanChecked,
    Measure::ReopenKilledChecked,
];

/// Writes all of it, and says where.
pub(crate) fn write(results: &Results, out: &Path) -> Result<Vec<PathBuf>> {
    let folder = out.with_extension("");
    std::fs::create_dir_all(&folder)?;
    let mut files = vec![out.to_owned(), folder.join("raw.json")];
    let mut charts = Vec::new();
    for (name, caption, svg) in [
        ("throughput.svg", "Durable operations a second, by threads", chart::throughput(results)?),
        ("times.svg", "The time of one operation", chart::times(results)?),
    ] {
        let Some(svg) = svg else { continue };
        let file = folder.join(name);
        std::fs::write(&file, svg)?;
        let link = Path::new(folder.file_name().context("the report has a name")?).join(name);
        charts.push(format!("![{caption}]({})\n", link.display()));
        files.push(file);
    }
    std::fs::write(folder.join("raw.json"), serde_json::to_string(results)?)?;
    let raw = Path::new(folder.file_name().context("the report has a name")?).join("raw.json");
    std::fs::write(out, page(results, &charts, &raw.display().to_string())?)?;
    Ok(files)
}

fn page(results: &Results, charts: &[String], raw: &str) -> Result<String> {
    let mut page = String::new();
    let minutes = results.took_seconds / 60.0;
    writeln!(page, "# Beside its rivals\n")?;
    writeln!(
        page,
        "The same work, durable, on the same file system, by turns: in every round each one does a slice of it, and another \
         one begins each time. Written by `{}` on {} in {minutes:.0} minutes, with {} rounds and slices of {} s. Raw \
         figures: [raw.json]({raw}).\n",
        results.command, results.date, results.rounds, results.slice_seconds,
    )?;
    writeln!(page, "Measured on: {}.\n", results.machine.describe())?;
    charts.iter().try_for_each(|chart| writeln!(page, "{chart}"))?;
    writeln!(page, "| | how it is set up |\n|---|---|")?;
    for (peer, set_up) in &results.set_up {
        writeln!(page, "| {} | {set_up} |", peer.label())?;
    }
    writeln!(
        page,
        "\nEach figure is the median of the rounds, ± half the distance between the quartiles. Beneath a rival's: how many \
         times as fast, or as small, khala is, the median of the ratios within each round. More than 1 is in khala's favour.\n"
    )?;
    for measure in WRITES {
        let places = results.places(measure);
        if !places.is_empty() {
            writeln!(page, "## {}\n\n{}\n", capitalised(measure.title()), explained(measure))?;
            table(&mut page, results, "rows, threads", &places, |place| {
                format!("{}, {}", grouped_usize(place.rows), place.threads)
            })?;
        }
    }
    section(
        &mut page,
        results,
        &SINGLE,
        "## One operation among many rows\n\nThe time of one, by one thread; draining: by as many threads as it says, until \
         each of so many open tasks has been claimed, exactly once. Messages are read in another thread of 1,000 each time.\n",
    )?;
    section(
        &mut page,
        results,
        &STORAGE,
        "## Loading, keeping and opening a store\n\nSo many messages of 256 bytes and as many tasks with instructions of 200 \
         bytes, 5,000 rows in a transaction. Memory is the kernel's `VmHWM` of a process of its own, mapped files \
         included, so LMDB's shows what of its file was touched. Opening: until a first question is answered, in a process \
         of its own, the file in the operating system's cache. Loading is measured once.\n",
    )?;
    Ok(page)
}

fn section(page: &mut String, results: &Results, measures: &[Measure], introduction: &str) -> Result<()> {
    let places: Vec<_> = measures.iter().flat_map(|measure| results.places(*measure)).collect();
    if places.is_empty() {
        return Ok(());
    }
    writeln!(page, "{introduction}")?;
    table(page, results, "", &places, |place| {
        let threads =
            if place.measure == Measure::Drain { format!(", {} threads", place.threads) } else { String::new() };
        format!("{} ({} rows{threads})", place.measure.title(), grouped_usize(place.rows))
    })
}

/// A table of these places, a column for each peer that was measured in any.
fn table(
    page: &mut String,
    results: &Results,
    heading: &str,
    places: &[Place],
    name: impl Fn(&Place) -> String,
) -> Result<()> {
    let peers = results.peers(places);
    let labels: Vec<_> = peers.iter().map(|peer| peer.label()).collect();
    writeln!(page, "| {heading} | {} |", labels.join(" | "))?;
    writeln!(page, "|---|{}", "---:|".repeat(peers.len()))?;
    for place in places {
        let cells: Vec<_> = peers.iter().map(|peer| cell(results, *place, *peer)).collect();
        writeln!(page, "| {} | {} |", name(place), cells.join(" | "))?;
    }
    writeln!(page)?;
    Ok(())
}

fn cell(results: &Results, place: Place, peer: PeerName) -> String {
    let Some(summary) = results.summary(place, peer) else { return "–".to_owned() };
    let figure = in_unit(summary.median, place.measure.unit());
    let spread = summary.spread() * 100.0;
    let figure = if spread > 0.0 { format!("{figure} ±{spread:.0} %") } else { figure };
    match results.advantage(place, PeerName::Khala, peer) {
        _ if peer == PeerName::Khala => format!("**{figure}**"),
        Some(times) => format!("{figure}<br>{}", ratio(times)),
        None => figure,
    }
}

fn explained(measure: Measure) -> &'static str {
    match measure {
        Measure::ClaimComplete => {
            "Cycles a second: each claims the next open task and completes it, two durable operations."
        }
        Measure::CreateClaimComplete => "Cycles a second: three durable operations.",
        _ => "Messages a second, each to one of many threads.",
    }
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "a count of rows")]
fn grouped_usize(count: usize) -> String {
    grouped(count as f64)
}

/// Whether a figure counts what is done in a second.
pub(crate) fn is_rate(measure: Measure) -> bool {
    measure.unit() == Unit::PerSecond
}
