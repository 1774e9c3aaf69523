//! Reads a digit that is drawn here.

use svertka::{Model, Options, TensorView, Weights};

fn main() -> Result<(), svertka::Error> {
    let root = std::env::args().nth(1).expect("the folder of svertka");
    let model = Model::open(format!("{root}/models/lenet5.cnn"))?;
    let mut session = model.compile(&Weights::of_card(), &Options::default())?;
    let pixels = seven();
    let scores = session.run(&[TensorView::new(&[1, 1, 28, 28], &pixels)?])?;
    println!("{}", model.classes(&scores[0])?[0][0].index);
    Ok(())
}

/// A 7 of two strokes, white on black, scaled as the model's card says: (x - 0.1307) / 0.3081.
fn seven() -> Vec<f32> {
    let ink = |row: usize, column: usize| {
        let bar = (6..9).contains(&row) && (7..21).contains(&column);
        let stem = (8..23).contains(&row) && (24 - row / 2..27 - row / 2).contains(&(column + 6));
        if bar || stem { 1.0 } else { 0.0 }
    };
    (0..28 * 28).map(|at| (ink(at / 28, at % 28) - 0.1307) / 0.3081).collect()
}
