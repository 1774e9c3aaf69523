//! Tells which digit a picture shows: digit PICTURE, a PGM file of 28x28 pixels, a white digit on black.

mod model;
mod picture;

fn main() -> Result<(), String> {
    let path = std::env::args().nth(1).ok_or("usage: digit PICTURE")?;
    let picture = picture::read(&path, [1, 28, 28], &[0.1307], &[0.3081])?;
    let functions =
        model::functions!(lenet5_error_text, lenet5_memory_bytes, lenet5_init, lenet5_input_quantisation, lenet5_run);
    println!("{}", model::Model::new(functions, 10)?.class(&picture)?);
    Ok(())
}
