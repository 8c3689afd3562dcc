//! Numbers that stay what they are: RFC 8785 carries every number as a double, and prints the shortest
//! digits that lead back to it. A number whose digits are others than those would change on its way.

use serde_json::Number;

use super::fault::ArgumentFault;

/// A double has every whole number of fewer digits.
const EXACT_DIGITS: usize = 16;

/// Checks every number in `json`, which is known to be JSON.
pub(super) fn all_exact(json: &[u8]) -> Result<(), ArgumentFault> {
    let mut rest = json.iter().enumerate();
    while let Some((at, byte)) = rest.next() {
        match byte {
            b'"' => skip_string(&mut rest),
            b'-' | b'0'..=b'9' => {
                let tail = json.get(at..).unwrap_or_default();
                let is_part =
                    |byte: &&u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
                let length = tail.iter().take_while(is_part).count();
                let exact = tail
                    .get(..length)
                    .and_then(|digits| str::from_utf8(digits).ok())
                    .is_some_and(|digits| double(digits).is_some());
                if !exact {
                    return Err(ArgumentFault::Number { byte: at });
                }
                if length > 1 {
                    rest.nth(length - 2);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn skip_string<'j>(rest: &mut impl Iterator<Item = (usize, &'j u8)>) {
    while let Some((_, byte)) = rest.next() {
        match byte {
            b'"' => return,
            b'\\' => {
                rest.next();
            }
            _ => {}
        }
    }
}

/// The number that `digits` of this radix are, if JSON carries it exactly.
pub(crate) fn exact(digits: &str, radix: u32) -> Option<Number> {
    let decimal = if radix == 10 {
        digits.strip_prefix('+').unwrap_or(digits).to_owned()
    } else {
        u64::from_str_radix(digits, radix).ok()?.to_string()
    };
    let number = double(&decimal)?;
    match decimal.parse::<i64>() {
        Ok(whole) => Some(whole.into()),
        Err(_) => Number::from_f64(number),
    }
}

/// The double with exactly these digits, if there is one.
fn double(digits: &str) -> Option<f64> {
    let number: f64 = digits.parse().ok()?;
    if digits.len() < EXACT_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(number);
    }
    // Zero has a sign that the canonical form does not keep.
    let kept = number.is_finite() && !(number == 0.0 && digits.starts_with('-'));
    // Of two shortest texts that are as close, RFC 8785 has this one; the standard library may have the other.
    let canonical = serde_json::to_string(&number).ok()?;
    (kept && decimal(digits)? == decimal(&canonical)?).then_some(number)
}

/// Sign, significant digits, and the power of ten of the last of them.
fn decimal(text: &str) -> Option<(bool, String, i64)> {
    let negative = text.starts_with('-');
    let text = text.trim_start_matches('-').to_ascii_lowercase();
    let (digits, power) = match text.split_once('e') {
        Some((digits, power)) => (digits, power.parse::<i64>().ok()?),
        None => (text.as_str(), 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    let significant = all.trim_end_matches('0');
    let dropped = i64::try_from(all.len() - significant.len()).ok()?;
    let places = i64::try_from(fraction.len()).ok()?;
    let significant = significant.trim_start_matches('0');
    if significant.is_empty() {
        return Some((false, String::new(), 0));
    }
    let power = power.checked_sub(places)?.checked_add(dropped)?;
    Some((negative, significant.to_owned(), power))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_taken_only_if_its_digits_come_back() {
        for good in [
            "0",
            "1",
            "-1",
            "0.1",
            "1.50",
            "100",
            "1e2",
            "1E+2",
            "1e-7",
            "1e21",
            "9007199254740991",
            "9007199254740992",
            "12345678901234567000",
            "1.7976931348623157e308",
            "5e-324",
            "0.0",
            "0e9",
        ] {
            assert!(double(good).is_some(), "{good}");
        }
        for bad in [
            "-0",
            "-0.0",
            "9007199254740993",
            "12345678901234567890",
            "18446744073709551615",
            "0.30000000000000000001",
            "1e309",
            "1e-400",
            "1e99999999999999999999",
            "3.14159265358979323846",
        ] {
            assert!(double(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn numbers_in_strings_are_no_numbers() {
        assert_eq!(
            all_exact(br#"{"1e400":"\"1e400","a":[1,-2.5e3,7]}"#),
            Ok(())
        );
        assert_eq!(
            all_exact(br#"{"a":"\\","b":[1, 1e400]}"#),
            Err(ArgumentFault::Number { byte: 18 })
        );
    }

    #[test]
    fn every_radix_of_toml_is_read() {
        assert_eq!(exact("ff", 16), Some(255.into()));
        assert_eq!(exact("+7", 10), Some(7.into()));
        assert_eq!(exact("1.5", 10), Number::from_f64(1.5));
        for bad in ["inf", "nan", "-nan", "+inf", ""] {
            assert_eq!(exact(bad, 10), None, "{bad}");
        }
    }
}
