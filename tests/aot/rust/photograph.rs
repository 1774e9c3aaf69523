//! Tells what a photograph shows: photograph PICTURE LABELS, a PPM file of 224x224 pixels and a text file with a class
//! name in each line.

mod model;
mod picture;

fn main() -> Result<(), String> {
    let usage = "usage: photograph PICTURE LABELS";
    let mut args = std::env::args().skip(1);
    let (path, labels) = (args.next().ok_or(usage)?, args.next().ok_or(usage)?);
    let picture = picture::read(&path, [3, 224, 224], &[0.485, 0.456, 0.406], &[0.229, 0.224, 0.225])?;
    let labels = std::fs::read_to_string(&labels).map_err(|error| format!("{labels}: {error}"))?;
    let functions = model::functions!(
        mobilenet_v2_error_text,
        mobilenet_v2_memory_bytes,
        mobilenet_v2_init,
        mobilenet_v2_input_quantisation,
        mobilenet_v2_run
    );
    let class = model::Model::new(functions, 1000)?.class(&picture)?;
    println!("{}", labels.lines().nth(class).unwrap_or("a class without a name"));
    Ok(())
}
