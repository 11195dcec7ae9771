//! What the programs of all stacks share: scenarios, their sizes, and how a figure is taken and told.

mod channel;
mod figure;
pub mod framed;
pub mod line;
pub mod lines;
mod measure;
mod scenario;
pub mod silent;

pub use self::channel::Channel;
pub use self::figure::{Figure, Outcome};
pub use self::measure::{DELIVERY, HONEST, LIMIT, Measured, STOPPED, Times, cpu_time, rate, resident, run, turns};
pub use self::scenario::{Against, Place, Scenario, Transport};
