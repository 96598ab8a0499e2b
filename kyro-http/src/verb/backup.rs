//! `kyro-http backup`: a consistent copy of the database, while it is read and written.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;

use super::output;
use crate::cli::ReachArgs;
use crate::exit::Exit;
use crate::store::{BackupPlace, Store, StoreError};

/// `backup`
#[derive(Debug, Args)]
#[command(
    after_help = "Runs that an earlier backup in the same place has already are not copied again: they get a \
second name there. A database that a server has open is backed up by the server: use --url."
)]
pub(crate) struct BackupArgs {
    /// The directory that holds the backups, one directory each; made when it is not there. With --url: the server's own
    #[arg(long, value_name = "DIR", required_unless_present = "url")]
    pub(crate) to: Option<PathBuf>,
    /// Name of this backup: 1 to 64 letters, digits, - or _ [default: the time, as in 20261122T181500Z]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Copy files also where a second name (hard link) would do, so that damage to the database is not damage to both
    #[arg(long)]
    pub(crate) copy: bool,
    /// Write the outcome as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

pub(crate) fn run(arguments: &BackupArgs, store: &mut dyn Store) -> Result<Exit, StoreError> {
    let name = arguments.name.clone().unwrap_or_else(|| utc(SystemTime::now()));
    if !crate::backup::is_name(&name) {
        let reason = format!("--name {name}: must be 1 to 64 letters, digits, `-` or `_`");
        return Err(StoreError::Usage(reason));
    }
    let place = BackupPlace { root: arguments.to.clone(), name, copy: arguments.copy };
    let report = store.backup(&place)?;
    output::document(&report, arguments.json)?;
    Ok(Exit::Done)
}

/// A moment as `20261122T181500Z`: names in the order of time.
pub(crate) fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01 in eras of 400 years, whose years begin in March (Hinnant, chrono-compatible dates).
    let since_march = days + 719_468;
    let (era, day_of_era) = (since_march / 146_097, since_march % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn moments_have_their_dates() {
        let at = |seconds| utc(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "19700101T000000Z");
        assert_eq!(at(951_782_399), "20000228T235959Z");
        assert_eq!(at(951_782_400), "20000229T000000Z");
        assert_eq!(at(1_795_370_400), "20261122T180000Z");
        assert_eq!(at(4_107_542_400), "21000301T000000Z");
        assert!(crate::backup::is_name(&at(0)));
    }
}
