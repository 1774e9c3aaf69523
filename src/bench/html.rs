//! A report as one page that needs nothing else: no network, no other file.

use super::report::Report;

/// Style, script and the place for the report.
const PAGE: &str = include_str!("page.html");
const PLACE: &str = "REPORT_JSON";

/// The page. It shows `results[R]` with step S selected when it is opened with `#R.S` behind its address.
pub fn page(report: &Report) -> String {
    let json = serde_json::to_string(report).expect("strings and finite numbers are JSON");
    // No text of the report can end the script element that holds it.
    PAGE.replacen(PLACE, &json.replace('<', "\\u003c"), 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::tests::report;

    #[test]
    fn the_page_holds_the_report_and_names_no_other_source() {
        let report = report();
        let page = page(&report);
        let start = page.find("type=\"application/json\">").unwrap() + "type=\"application/json\">".len();
        let json = &page[start..][..page[start..].find("</script>").unwrap()];
        assert_eq!(Report::from_json(json).unwrap(), report);
        for outside in ["src=", "href=", "@import", "url(", "fetch(", "https:"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
