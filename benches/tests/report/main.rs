//! Records and the report about them, on small records made up for the purpose.

mod cli;
mod numbers;
mod page;
mod readme;
mod record;
mod synthetic;
