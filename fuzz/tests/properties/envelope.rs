use proptest::prelude::*;
use weir_fuzz::envelope::holds;

use super::json::{any_body, any_message, cases};

proptest! {
    #![proptest_config(cases(1_500))]

    #[test]
    fn envelopes_mean_one_thing(body in any_body()) {
        holds(&body);
    }

    #[test]
    fn batches_too(messages in prop::collection::vec(any_message(), 1..4)) {
        holds(&serde_json::to_vec(&messages).unwrap());
    }
}
