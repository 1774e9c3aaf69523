//! A report as one page that needs nothing else: no network, no other file.

use super::report::Report;
use crate::page::{BENCH, Network, Page, json};
use crate::schedule::Plan;
use serde::Serialize;

/// The fused graph of a result, as the page shows it.
#[derive(Serialize)]
pub struct GraphDrawing {
    network: Network,
    /// For each step, the node whose value it makes or prepares.
    nodes: Vec<u32>,
}

impl GraphDrawing {
    /// `None` where it is too large to be drawn.
    pub fn new(plan: &Plan) -> Option<GraphDrawing> {
        let network = Network::new(&plan.graph, None).ok()?;
        Some(GraphDrawing { network, nodes: plan.steps.iter().map(|step| step.node.0).collect() })
    }
}

/// The page. It shows `results[R]` with step S selected when it is opened with `#R.S` behind its address. `graphs` has
/// an entry for each result.
pub fn page(report: &Report, graphs: &[Option<GraphDrawing>]) -> String {
    let (body, style, scripts) = BENCH;
    let data = [("report", json(report)), ("graphs", json(&graphs))];
    Page { title: "svertka bench", body, style, scripts, data: &data }.to_html()
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
        for outside in ["src=", "href=", "@import", "fetch(", "https:"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
