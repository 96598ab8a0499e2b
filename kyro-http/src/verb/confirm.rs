//! Before something is destroyed: `--yes`, or a question to whoever sits at the terminal.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::store::StoreError;

/// Goes on where `yes` was said or the person at the terminal says it; `what` completes "this ...".
pub(crate) fn confirm(yes: bool, what: &str) -> Result<(), StoreError> {
    if yes {
        return Ok(());
    }
    let (stdin, mut stderr) = (io::stdin(), io::stderr());
    if !stdin.is_terminal() || !stderr.is_terminal() {
        return Err(StoreError::Usage(format!("this {what}; say --yes to do it without being asked")));
    }
    write!(stderr, "this {what}. Type yes to go on: ")
        .and_then(|()| stderr.flush())
        .map_err(StoreError::Output)?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer).map_err(StoreError::Output)?;
    if answer.trim() == "yes" { Ok(()) } else { Err(StoreError::Usage("nothing was done".to_owned())) }
}
