//! A report as one page that needs nothing else: no network, no other file.

use super::profile::Profile;
use super::report::{Measurement, Report};
use crate::page::{BENCH, Network, Page, json};
use crate::schedule::Plan;
use serde::Serialize;
use serde_json::{Value, json as object};

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
pub fn page(report: &Report, graphs: &[Option<Value>]) -> String {
    let (body, style, scripts) = BENCH;
    let data = [("report", json(report)), ("graphs", json(&graphs))];
    Page { title: "svertka bench", body, style, scripts, data: &data }.to_html()
}

/// What the page of a network shows of measurements of it.
pub fn times(report: &Report, network: &Network) -> Value {
    let profile = |profile: &Profile| {
        let steps = profile.steps.iter().zip(network.nodes_of(&profile.steps)).map(|(step, node)| {
            object!({
                "node": node, "layer": step.layer, "kernel": step.kernel, "time": { "median_s": step.time.median_s },
                "share": step.share, "flops": step.flops, "own_flops": step.own_flops, "bytes": step.bytes, "elements": step.elements,
                "bound": step.bound, "distance": step.distance,
            })
        });
        object!({
            "distance": profile.distance, "clock": profile.clock, "arithmetic_raised": profile.arithmetic_raised,
            "memory_raised": profile.memory_raised, "steps": steps.collect::<Vec<Value>>(),
        })
    };
    let result = |result: &Measurement| {
        object!({
            "setting": result.setting, "samples_per_s": result.samples_per_s, "gflops": result.gflops,
            "steady": { "median_s": result.steady.median_s, "p99_s": result.steady.p99_s },
            "profile": result.profile.as_ref().map(profile),
        })
    };
    object!({
        "machine": { "cpu": report.machine.cpu, "cores": report.machine.cores },
        "date": report.date,
        "peak": report.peak.as_ref().map(|peak| object!({ "fma": peak.fma, "memory": peak.memory })),
        "results": report.results.iter().map(result).collect::<Vec<Value>>(),
    })
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
