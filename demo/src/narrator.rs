//! What the person at the terminal sees: a tick and a time for each step, live log lines, a summary.
//! Invariant: without a terminal the output is plain lines in the same order.

use std::cell::RefCell;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::server::Server;

/// Prints the demo.
pub struct Narrator {
    started: Instant,
    colours: bool,
    current: RefCell<Option<(Instant, ProgressBar)>>,
}

impl Narrator {
    /// Starts the clock.
    pub fn new() -> Self {
        let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { started: Instant::now(), colours, current: RefCell::new(None) }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn line(&self, text: &str) {
        match &*self.current.borrow() {
            Some((_, bar)) => bar.suspend(|| println!("{text}")),
            None => println!("{text}"),
        }
    }

    /// A heading.
    pub fn chapter(&self, title: &str) {
        self.line(&format!("\n{}", self.paint("1", title)));
    }

    /// A step begins.
    pub fn begin(&self, what: &str) {
        let bar = if self.colours { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("  {spinner:.blue} {msg} {elapsed:.dim}") {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        self.current.replace(Some((Instant::now(), bar)));
    }

    /// The step is done and was verified.
    pub fn done(&self, what: &str) {
        let took = match self.current.take() {
            Some((started, bar)) => {
                bar.finish_and_clear();
                started.elapsed()
            }
            None => Duration::ZERO,
        };
        let time = format!("{:>6.2} s", took.as_secs_f32());
        println!("  {} {} {what}", self.paint("32", "✓"), self.paint("2", &time));
    }

    /// Something worth seeing under a step.
    pub fn detail(&self, text: &str) {
        self.line(&format!("             {}", self.paint("2", text)));
    }

    /// A line of the live log.
    pub fn log(&self, step: &str, text: &str) {
        let text: String = text.chars().filter(|character| !character.is_control()).take(160).collect();
        self.line(&format!("    {} {} {text}", self.paint("34", "│"), self.paint("2", step)));
    }

    /// The demo stops here.
    pub fn failed(&self, error: &anyhow::Error) {
        if let Some((_, bar)) = self.current.take() {
            let what = bar.message();
            bar.finish_and_clear();
            println!("  {} {what}", self.paint("31", "✕"));
        }
        println!("\n{} {error:#}", self.paint("1;31", "error:"));
    }

    /// The end of the server's log, where the reason most often stands.
    pub fn server_log(&self, server: &Server) {
        println!("{} the end of the server's log:\n{}", self.paint("1", "hint:"), server.log_tail());
    }

    /// What was shown.
    pub fn summary(&self, lines: &[String]) {
        self.chapter(&format!("Done after {:.1} s", self.started.elapsed().as_secs_f32()));
        for line in lines {
            self.line(&format!("  {line}"));
        }
    }

    /// Where everything is, when it is left running.
    pub fn addresses(&self, lines: &[(String, String)]) {
        self.chapter("Left running; Ctrl-C ends it");
        for (name, value) in lines {
            self.line(&format!("  {name:<18} {}", self.paint("1", value)));
        }
        println!();
    }
}
