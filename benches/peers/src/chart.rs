//! Charts, as SVG that can be read on a light page and on a dark one.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::format::{grouped, seconds};
use crate::measure::{Measure, Place, Results};
use crate::peer::PeerName;
use crate::report::is_rate;

/// Ink and lines on a light page. On a dark one the style below puts others in their place.
const INK: RGBColor = RGBColor(0x1F, 0x23, 0x28);
const LINES: RGBColor = RGBColor(0xD1, 0xD9, 0xE0);
const DARK: &str = "<style>@media (prefers-color-scheme: dark) {\
    [fill=\"#1F2328\"] { fill: #E6EDF3 } [stroke=\"#1F2328\"] { stroke: #8B949E } [stroke=\"#D1D9E0\"] { stroke: #30363D }\
    }</style>\n";

const FONT: &str = "system-ui, sans-serif";
const TEXT: u32 = 13;
const TITLE: u32 = 15;
const LEGEND_HEIGHT: u32 = 34;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Durable operations a second by threads, among the most rows that were measured: claims on the left, appends on the
/// right.
pub(crate) fn throughput(results: &Results) -> Result<Option<String>> {
    let panels: Vec<_> = [Measure::ClaimComplete, Measure::Append256]
        .into_iter()
        .map(|measure| (measure, largest(results, measure)))
        .filter(|(_, places)| places.len() > 1)
        .collect();
    let all: Vec<_> = panels.iter().flat_map(|(_, places)| places.iter().copied()).collect();
    if all.is_empty() {
        return Ok(None);
    }
    draw((940, 420), |root| {
        let body = legend(root, &results.peers(&all))?;
        for ((measure, places), panel) in panels.iter().zip(body.split_evenly((1, panels.len()))) {
            lines(results, *measure, places, &panel)?;
        }
        Ok(())
    })
    .map(Some)
}

/// The time of one operation: reads, lists, expiry.
pub(crate) fn times(results: &Results) -> Result<Option<String>> {
    let measures = Measure::ALL
        .into_iter()
        .filter(|measure| !is_rate(*measure) && (Measure::Drain..=Measure::ExpireNone).contains(measure));
    let places: Vec<_> = measures.flat_map(|measure| largest(results, measure)).collect();
    if places.is_empty() {
        return Ok(None);
    }
    let height = LEGEND_HEIGHT + 70 + 38 * u32::try_from(places.len())?;
    draw((940, height), |root| dots(results, &places, &legend(root, &results.peers(&places))?)).map(Some)
}

/// The places of this measure among the most rows.
fn largest(results: &Results, measure: Measure) -> Vec<Place> {
    let places = results.places(measure);
    let most = places.iter().map(|place| place.rows).max();
    places.into_iter().filter(|place| Some(place.rows) == most).collect()
}

/// What is drawn on an area of this size.
fn draw(size: (u32, u32), draw: impl FnOnce(&Area<'_>) -> Result<()>) -> Result<String> {
    let mut svg = String::new();
    let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
    draw(&root)?;
    root.present().map_err(drawing)?;
    drop(root);
    let (head, body) = svg.split_once('\n').ok_or_else(|| anyhow!("the drawing is empty"))?;
    Ok(format!("{head}\n{DARK}{body}"))
}

/// Names the colours, and gives back the area below.
fn legend<'a>(root: &Area<'a>, peers: &[PeerName]) -> Result<Area<'a>> {
    let (top, body) = root.split_vertically(LEGEND_HEIGHT);
    let mut x = 16;
    for peer in peers {
        top.draw(&Circle::new((x, 16), 5, colour(*peer).filled())).map_err(drawing)?;
        let style = text(TEXT).pos(Pos::new(HPos::Left, VPos::Center));
        top.draw(&Text::new(peer.label(), (x + 11, 16), style)).map_err(drawing)?;
        x += 34 + 7 * i32::try_from(peer.label().len())?;
    }
    Ok(body)
}

fn lines(results: &Results, measure: Measure, places: &[Place], area: &Area<'_>) -> Result<()> {
    let medians: Vec<_> = places.iter().flat_map(|place| summaries(results, *place)).collect();
    let (low, high) = bounds(medians.iter().map(|(_, median)| *median));
    let last = places.len().saturating_sub(1);
    let rows = places.first().map_or(0, |place| place.rows);
    let title = format!("{}, {} rows", measure.title(), grouped(as_number(rows)));
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .caption(title, text(TITLE))
        .x_label_area_size(44)
        .y_label_area_size(66)
        .build_cartesian_2d(0.0..as_number(last), (low..high).log_scale())
        .map_err(drawing)?;
    let threads = |x: &f64| {
        let place = places.iter().enumerate().find(|(number, _)| (as_number(*number) - x).abs() < 0.01);
        place.map_or_else(String::new, |(_, place)| place.threads.to_string())
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(LINES)
        .axis_style(LINES)
        .x_labels(places.len())
        .x_label_formatter(&threads)
        .y_label_formatter(&|rate: &f64| grouped(*rate))
        .label_style(text(TEXT))
        .axis_desc_style(text(TEXT))
        .x_desc("threads")
        .y_desc("a second")
        .draw()
        .map_err(drawing)?;
    for peer in results.peers(places) {
        let points: Vec<_> = places
            .iter()
            .enumerate()
            .filter_map(|(number, place)| Some((as_number(number), results.summary(*place, peer)?.median)))
            .collect();
        let width = if peer == PeerName::Khala { 4 } else { 2 };
        let style = colour(peer).stroke_width(width);
        chart.draw_series(LineSeries::new(points.iter().copied(), style)).map_err(drawing)?;
        let dots = points.iter().map(|point| Circle::new(*point, width + 1, colour(peer).filled()));
        chart.draw_series(dots).map_err(drawing)?;
    }
    Ok(())
}

fn dots(results: &Results, places: &[Place], area: &Area<'_>) -> Result<()> {
    let medians: Vec<_> = places.iter().flat_map(|place| summaries(results, *place)).collect();
    let (low, high) = bounds(medians.iter().map(|(_, median)| *median));
    let last = places.len().saturating_sub(1);
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .margin_right(30)
        .x_label_area_size(44)
        .y_label_area_size(240)
        .build_cartesian_2d((low..high).log_scale(), (0..last).into_segmented())
        .map_err(drawing)?;
    // The first on top.
    let name = |segment: &SegmentValue<usize>| match segment {
        SegmentValue::CenterOf(number) | SegmentValue::Exact(number) => {
            places.get(last.saturating_sub(*number)).map_or("", |place| place.measure.title()).to_owned()
        }
        SegmentValue::Last => String::new(),
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(LINES)
        .axis_style(LINES)
        .x_label_formatter(&|time: &f64| seconds(*time).replace(".00", "").replace(".0", ""))
        .y_label_formatter(&name)
        .y_labels(places.len())
        .label_style(text(TEXT))
        .axis_desc_style(text(TEXT))
        .x_desc("time of one, each line ten times the one before")
        .draw()
        .map_err(drawing)?;
    for (number, place) in places.iter().enumerate() {
        // khala last, on top of the others.
        for (peer, median) in summaries(results, *place).into_iter().rev() {
            let point = (median, SegmentValue::CenterOf(last.saturating_sub(number)));
            let size = if peer == PeerName::Khala { 7 } else { 5 };
            let dot = Circle::new(point, size, colour(peer).filled());
            chart.draw_series(std::iter::once(dot)).map_err(drawing)?;
        }
    }
    Ok(())
}

fn summaries(results: &Results, place: Place) -> Vec<(PeerName, f64)> {
    let peers = results.peers(&[place]).into_iter();
    peers.filter_map(|peer| Some((peer, results.summary(place, peer)?.median))).collect()
}

/// The powers of ten around these.
fn bounds(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let (low, high) = (values.clone().fold(f64::MAX, f64::min), values.fold(f64::MIN_POSITIVE, f64::max));
    (10_f64.powf(low.log10().floor()), 10_f64.powf(high.log10().ceil()))
}

/// Colours that differ for the colour-blind too, after Okabe and Ito, in tones that stand out from white and from black.
fn colour(peer: PeerName) -> RGBColor {
    match peer {
        PeerName::Khala => RGBColor(0xD5, 0x5E, 0x00),
        PeerName::SqliteGrouped => RGBColor(0x1F, 0x83, 0xD6),
        PeerName::Sqlite => RGBColor(0x7F, 0xB8, 0xE6),
        PeerName::Lmdb => RGBColor(0x00, 0x9E, 0x73),
        PeerName::Fjall => RGBColor(0xCC, 0x79, 0xA7),
        PeerName::Redb => RGBColor(0xC9, 0xA2, 0x00),
        PeerName::Disk => RGBColor(0x8B, 0x94, 0x9E),
    }
}

fn text(size: u32) -> TextStyle<'static> {
    (FONT, size).into_font().color(&INK)
}

#[expect(clippy::cast_precision_loss, reason = "rows and places in a chart")]
fn as_number(count: usize) -> f64 {
    count as f64
}

fn drawing(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("a chart cannot be drawn: {error}")
}
