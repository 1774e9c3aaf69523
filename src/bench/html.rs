//! A report as one page that needs nothing else: no network, no other file.

use super::report::Report;
use crate::analysis::draw::{Drawing, Format};
use crate::schedule::Plan;
use serde::Serialize;

/// The fused graph of a result, as the page shows it.
#[derive(Clone, Debug, Serialize)]
pub struct GraphDrawing {
    svg: String,
    /// For each box, the step that completes its value, if there is one.
    steps: Vec<Option<usize>>,
}

impl GraphDrawing {
    /// `None` where it is too large to be drawn.
    pub fn new(plan: &Plan) -> Option<GraphDrawing> {
        let svg = Drawing::of_graph(&plan.graph).render(Format::Svg).ok()?;
        let mut steps = vec![None; plan.graph.nodes.len()];
        // The last step of a node completes it; those before it only prepare.
        plan.steps.iter().enumerate().for_each(|(index, step)| steps[step.node.0 as usize] = Some(index));
        Some(GraphDrawing { svg, steps })
    }
}

/// Style, script and the place for the report.
const PAGE: &str = include_str!("page.html");
const REPORT: &str = "REPORT_JSON";
const GRAPHS: &str = "GRAPHS_JSON";

/// The page. It shows `results[R]` with step S selected when it is opened with `#R.S` behind its address. `graphs` has
/// an entry for each result.
pub fn page(report: &Report, graphs: &[Option<GraphDrawing>]) -> String {
    let (before, rest) = PAGE.split_once(REPORT).expect("the page has a place for the report");
    let (between, after) = rest.split_once(GRAPHS).expect("the page has a place for the graphs");
    [before, &json(report), between, &json(&graphs), after].concat()
}

/// JSON in which no text can end the script element that holds it.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings and finite numbers are JSON").replace('<', "\\u003c")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::tests::report;

    #[test]
    fn the_page_holds_the_report_and_names_no_other_source() {
        let report = report();
        let page = page(&report, &[None, None]);
        let start = page.find("type=\"application/json\">").unwrap() + "type=\"application/json\">".len();
        let json = &page[start..][..page[start..].find("</script>").unwrap()];
        assert_eq!(Report::from_json(json).unwrap(), report);
        for outside in ["src=", "href=", "@import", "url(", "fetch(", "https:"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
