//! What quantising did to a network, as one page that needs nothing else: no network, no other file.

use super::calibrate::Method;
use super::choose::{LayerReport, Quantised, Wishes};
use crate::analysis::draw::label;
use crate::analysis::figures::{Figures, figures};
use crate::page::{Page, QUANTISED, json};
use serde::Serialize;

/// What the page says besides what was found.
pub struct About<'a> {
    /// Of the model.
    pub name: &'a str,
    pub wishes: &'a Wishes,
    pub before: WeightsOf,
    pub after: WeightsOf,
}

/// A weight file.
#[derive(Serialize)]
pub struct WeightsOf {
    /// `None` where the weights are those of no file.
    pub file: Option<String>,
    pub bytes: u64,
}

#[derive(Serialize)]
struct Report<'a> {
    svertka: &'static str,
    model: &'a str,
    method: String,
    activation_bits: u8,
    paired: bool,
    /// 0 to 1.
    budget: Option<f64>,
    examples: usize,
    agreeing: usize,
    before: &'a WeightsOf,
    after: &'a WeightsOf,
    /// Of the whole network, for one sample.
    macs: u64,
    weights: u64,
    layers: Vec<Layer<'a>>,
}

#[derive(Serialize)]
struct Layer<'a> {
    name: &'a str,
    /// As in the model file.
    layer: String,
    int8: bool,
    /// Why it stays f32.
    reason: Option<&'a str>,
    snr_db: Decibels,
    weights_snr_db: Option<f64>,
    input_snr_db: Option<f64>,
    macs: u64,
    weights: u64,
}

/// `null` where there is no number, which JSON has no infinite ones of.
#[derive(Serialize)]
struct Decibels {
    value: Option<f64>,
    /// There are no errors.
    exact: bool,
}

impl Decibels {
    fn new(snr_db: f64) -> Decibels {
        Decibels { value: snr_db.is_finite().then_some(snr_db), exact: snr_db == f64::INFINITY }
    }
}

/// The page. It shows layer L selected when it is opened with `#L` behind its address.
pub fn page(quantised: &Quantised, about: &About) -> String {
    let (body, style, scripts) = QUANTISED;
    let data = [("report", json(&report(quantised, about)))];
    let title = format!("{} in eight bits - svertka", about.name);
    Page { title: &title, body, style, scripts, data: &data }.to_html()
}

fn report<'a>(quantised: &'a Quantised, about: &'a About) -> Report<'a> {
    let figures = figures(&quantised.structure.graph);
    let Wishes { method, activation_bits, paired, budget, .. } = about.wishes;
    Report {
        svertka: env!("CARGO_PKG_VERSION"),
        model: about.name,
        method: in_words(*method),
        activation_bits: *activation_bits,
        paired: *paired,
        budget: *budget,
        examples: quantised.measured.samples,
        agreeing: quantised.measured.agreeing,
        before: &about.before,
        after: &about.after,
        macs: figures.macs(),
        weights: figures.split.weights,
        layers: quantised.layers.iter().map(|one| layer(quantised, &figures, one)).collect(),
    }
}

fn layer<'a>(quantised: &'a Quantised, figures: &Figures, of: &'a LayerReport) -> Layer<'a> {
    let counted = &figures.nodes[of.node.0 as usize];
    Layer {
        name: &of.name,
        layer: label(&quantised.structure.graph[of.node]),
        int8: of.kept.is_none(),
        reason: of.kept.as_deref(),
        snr_db: Decibels::new(of.snr_db),
        weights_snr_db: of.weights_snr_db,
        input_snr_db: of.input_snr_db,
        macs: counted.macs,
        weights: counted.parameters.weights,
    }
}

fn in_words(method: Method) -> String {
    match method {
        Method::MinMax => "minimum and maximum".into(),
        Method::Percentile(outside) => format!("percentile, {outside} % outside at each end"),
        Method::LeastSquares => "least squared error".into(),
    }
}
