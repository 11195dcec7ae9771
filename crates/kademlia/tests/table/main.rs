//! The routing table from the outside: its rules one by one, its invariants under any order of calls, and attacks with each
//! defence on and off.

mod attacks;
mod figures;
mod model;
mod rules;
mod support;
mod upkeep;
