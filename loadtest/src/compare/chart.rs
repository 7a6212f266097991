//! Bars, as SVG. Colours come from the page, which has a light and a dark set.

use super::html::escape;

const WIDTH: f64 = 720.0;
const NAMES: f64 = 130.0;
const VALUES: f64 = 90.0;
const BAR: f64 = 18.0;
const GAP: f64 = 10.0;

/// One bar: a name, its parts one after the other, and what is written behind it.
pub(super) struct Bar {
    pub(super) name: String,
    /// Lengths with the class that colours them.
    pub(super) parts: Vec<(f64, &'static str)>,
    pub(super) label: String,
    /// The smallest and the largest of all rounds.
    pub(super) range: Option<(f64, f64)>,
}

/// A figure with one bar below the other, the longest as long as there is room.
pub(super) fn bars(title: &str, legend: &[(&str, &str)], bars: &[Bar]) -> String {
    let length = |bar: &Bar| bar.parts.iter().map(|(length, _)| length).sum::<f64>();
    let reach = |bar: &Bar| length(bar).max(bar.range.map_or(0.0, |(_, most)| most));
    let longest = bars.iter().map(reach).fold(0.0, f64::max).max(1e-9);
    let scale = (WIDTH - NAMES - VALUES) / longest;
    let height = bars.len() as f64 * (BAR + GAP) + GAP;
    let mut svg = format!(
        "<figure><figcaption>{}{}</figcaption>\n<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">\n",
        escape(title),
        keys(legend),
        escape(title),
    );
    for (number, bar) in bars.iter().enumerate() {
        let y = GAP + number as f64 * (BAR + GAP);
        let middle = y + BAR / 2.0;
        svg += &format!(
            "<text x=\"{:.1}\" y=\"{middle:.1}\" class=\"name\">{}</text>\n",
            NAMES - 8.0,
            escape(&bar.name)
        );
        let mut x = NAMES;
        for (length, class) in &bar.parts {
            let width = length * scale;
            svg += &format!(
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\" class=\"{class}\"/>\n"
            );
            x += width;
        }
        if let Some((least, most)) = bar.range {
            let (from, to) = (NAMES + least * scale, NAMES + most * scale);
            svg += &format!(
                "<path d=\"M{from:.1} {middle:.1}H{to:.1}M{from:.1} {:.1}v8M{to:.1} {:.1}v8\" class=\"range\"/>\n",
                middle - 4.0,
                middle - 4.0
            );
            x = x.max(to);
        }
        svg += &format!(
            "<text x=\"{:.1}\" y=\"{middle:.1}\" class=\"value\">{}</text>\n",
            x + 6.0,
            escape(&bar.label)
        );
    }
    svg + "</svg></figure>\n"
}

fn keys(legend: &[(&str, &str)]) -> String {
    legend
        .iter()
        .map(|(class, name)| {
            format!(
                " <svg class=\"key\" viewBox=\"0 0 10 10\"><rect width=\"10\" height=\"10\" class=\"{class}\"/></svg> {}",
                escape(name)
            )
        })
        .collect()
}
