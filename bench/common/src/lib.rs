//! What the programs of all stacks share: scenarios, their sizes, and how a figure is taken and told.

mod figure;
mod measure;
mod scenario;
pub mod silent;

pub use self::figure::{Figure, Outcome};
pub use self::measure::{Measured, cpu_time, median_us, rate, resident, run};
pub use self::scenario::{Against, Scenario, Transport};
