use proptest::prelude::*;
use weir_fuzz::canonical::{holds, pair_holds};

use super::json::{any_value, cases, damaged};

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn values_have_one_form(one in any_value(), other in any_value()) {
        pair_holds(&one, &one);
        pair_holds(&one, &other);
    }

    #[test]
    fn numbers_have_one_form(number in any::<f64>().prop_filter("JSON has no others", |number| number.is_finite())) {
        for text in [format!("{number:e}"), format!("{number:.30e}"), serde_json::to_string(&number).unwrap()] {
            holds(&text);
        }
        // The shortest spelling, however it is written, has the form that ECMAScript gives the double.
        let short = serde_json::to_string(&number).unwrap();
        let form = weir_plugin_protocol::jsonrpc::canonical(&short).unwrap();
        prop_assert_eq!(form.parse::<f64>().unwrap(), number);
    }

    #[test]
    fn other_texts_have_none(text in damaged(any_value().prop_map(|value| value.to_string().into_bytes()))) {
        holds(&String::from_utf8_lossy(&text));
    }
}
