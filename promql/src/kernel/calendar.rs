//! Parts of the date of a timestamp, UTC.

use crate::function::Calendar;

const DAY: u64 = 86_400;
/// Days from the zero of Go's clock, in the year -292277022399, to the epoch: 1970 years and 306 days of 292277022400
/// years' leap cycles.
const DAYS_TO_EPOCH: u64 = 292_277_022_400 / 400 * 146_097 + 306 + 719_162;

/// The part of the date that lies `seconds` after the epoch. Any 64-bit time has one: the calendar goes on both ways,
/// and as in Go begins anew where 64 bits end.
pub(crate) fn part(part: Calendar, seconds: f64) -> f64 {
    // As Go converts: towards zero, and what does not fit becomes the smallest integer.
    let fits = seconds >= i64::MIN as f64 && seconds < i64::MAX as f64;
    let seconds = if fits { seconds as i64 } else { i64::MIN };
    let since_zero = (seconds as u64).wrapping_add(DAYS_TO_EPOCH * DAY);
    let (days, second) = ((since_zero / DAY) as i64 - DAYS_TO_EPOCH as i64, since_zero % DAY);
    match part {
        Calendar::Hour => (second / 3600) as f64,
        Calendar::Minute => (second / 60 % 60) as f64,
        Calendar::DayOfWeek => (days + 4).rem_euclid(7) as f64,
        _ => date_part(part, days),
    }
}

fn date_part(part: Calendar, days: i64) -> f64 {
    let (year, month, day) = date(days);
    let value = match part {
        Calendar::Year => year,
        Calendar::Month => month,
        Calendar::DayOfMonth => day,
        Calendar::DayOfYear => days - days_before(year, 1) + 1,
        _ => days_before(if month == 12 { year + 1 } else { year }, month % 12 + 1) - days_before(year, month),
    };
    value as f64
}

/// Year, month and day of the day that lies `days` after the epoch, in the proleptic Gregorian calendar.
/// Counts in eras of 400 years whose years begin in March, so that leap days come last.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Days from the epoch to the first of the month.
fn days_before(year: i64, month: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_agree_with_the_calendar() {
        let parts = |seconds: f64| {
            [
                Calendar::Year,
                Calendar::Month,
                Calendar::DayOfMonth,
                Calendar::DayOfWeek,
                Calendar::DayOfYear,
                Calendar::DaysInMonth,
                Calendar::Hour,
                Calendar::Minute,
            ]
            .map(|p| part(p, seconds) as i64)
        };
        assert_eq!(parts(0.0), [1970, 1, 1, 4, 1, 31, 0, 0]);
        assert_eq!(parts(1_136_239_445.0), [2006, 1, 2, 1, 2, 31, 22, 4]);
        assert_eq!(parts(1_456_790_399.0), [2016, 2, 29, 1, 60, 29, 23, 59]);
        assert_eq!(parts(-1.0), [1969, 12, 31, 3, 365, 31, 23, 59]);
        assert_eq!((part(Calendar::Hour, f64::INFINITY), part(Calendar::Minute, f64::NAN)), (15.0, 30.0));
        assert_eq!(part(Calendar::DayOfYear, f64::NEG_INFINITY), 339.0);
        for days in [-200_000_i64, -1, 0, 59, 60, 365, 11_016, 200_000] {
            let (year, month, day) = date(days);
            assert_eq!(days_before(year, month) + day - 1, days);
        }
    }
}
