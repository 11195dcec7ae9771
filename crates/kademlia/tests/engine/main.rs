//! Whole networks of engines, in virtual time and without a socket.

mod churn;
mod join;
mod net;
mod rules;
mod stored;
