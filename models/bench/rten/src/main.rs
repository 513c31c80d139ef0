//! Times an ONNX encoder in rten: for each line `PIECES RUNS` on standard input, the
//! microseconds of each run as a JSON array.

use rten::{Model, RunOptions, ThreadPool, ValueOrView};
use rten_tensor::NdTensor;
use std::error::Error;
use std::io::BufRead;
use std::sync::Arc;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: bench-rten MODEL.onnx")?;
    let model = Model::load_file(path)?;
    let (input, output) = (model.input_ids()[0], model.output_ids()[0]);
    let one_thread = Arc::new(ThreadPool::with_num_threads(1));
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (pieces, runs) = line.split_once(' ').ok_or("a line is PIECES RUNS")?;
        let (pieces, runs): (usize, usize) = (pieces.parse()?, runs.parse()?);
        let ids: Vec<i32> = (1000..).take(pieces).collect();
        let mut times = Vec::new();
        for _ in 0..runs {
            let ids = NdTensor::from_data([1, pieces], ids.clone());
            let inputs = vec![(input, ValueOrView::from(ids))];
            let options = RunOptions::default().with_thread_pool(Some(one_thread.clone()));
            let start = Instant::now();
            model.run(inputs, &[output], Some(options))?;
            times.push(start.elapsed().as_secs_f64() * 1e6);
        }
        println!("{times:?}");
    }
    Ok(())
}
