
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "ngx_ws_bus_utf8.c"
#include "ngx_ws_bus_json.c"

#include "tap.h"


/* bytes of a literal, null characters among them, and their number */

#define T(text)  text, sizeof(text) - 1


typedef struct {
    const char         *name;
    const char         *text;
    size_t              len;
} json_case_t;


typedef struct {
    const char         *text;
    ngx_int_t           rc;            /* of the last step */
    struct {
        const char         *key;
        const char         *value;
        ngx_ws_bus_json_e   type;
    } members[8];
} walk_case_t;


typedef struct {
    const char         *raw;
    const char         *name;
    size_t              len;
    ngx_uint_t          same;
} is_case_t;


typedef struct {
    const char         *raw;
    const char         *text;          /* NULL: an error */
    size_t              len;
} unescape_case_t;


typedef struct {
    const char         *raw;
    uint64_t            n;
    ngx_int_t           rc;
} uint_case_t;


static u_char *copy(const char *data, size_t len);
static ngx_int_t valid_of(const char *data, size_t len);
static ngx_int_t walk_of(const char *data, size_t len);
static size_t encode(u_char *p, uint32_t cp);
static size_t nested(char *p, ngx_uint_t depth, const char *open,
    const char *inside, const char *close);
static void test_valid(void);
static void test_invalid(void);
static void test_prefixes(void);
static void test_white_space(void);
static void test_bytes_in_strings(void);
static void test_utf8_in_strings(void);
static void test_escapes(void);
static void test_depth(void);
static void test_walk(void);
static void test_walk_slices(void);
static void test_is(void);
static void test_unescape(void);
static void test_units(void);
static void test_pairs(void);
static void test_escape(void);
static void test_escape_bytes(void);
static void test_uint(void);


/* names are those of the well-known suite of JSON texts, where it has them */

static const json_case_t  valid[] = {
    { "arraysWithSpaces", T("[[]   ]") },
    { "array_empty-string", T("[\"\"]") },
    { "array_empty", T("[]") },
    { "array_ending_with_newline", T("[\"a\"]\n") },
    { "array_false", T("[false]") },
    { "array_heterogeneous", T("[null, 1, \"1\", {}]") },
    { "array_null", T("[null]") },
    { "array_with_1_and_newline", T("[1\n]") },
    { "array_with_leading_space", T(" [1]") },
    { "array_with_several_null", T("[1,null,null,null,2]") },
    { "array_with_trailing_space", T("[2] ") },
    { "number", T("[123e65]") },
    { "number_0e+1", T("[0e+1]") },
    { "number_0e1", T("[0e1]") },
    { "number_after_space", T("[ 4]") },
    { "number_double_close_to_zero",
      T("[-0.00000000000000000000000000000000000000000000000000000000000000"
        "0000000000000001]") },
    { "number_int_with_exp", T("[20e1]") },
    { "number_minus_zero", T("[-0]") },
    { "number_negative_int", T("[-123]") },
    { "number_negative_one", T("[-1]") },
    { "number_negative_zero", T("[-0]") },
    { "number_real_capital_e", T("[1E22]") },
    { "number_real_capital_e_neg_exp", T("[1E-2]") },
    { "number_real_capital_e_pos_exp", T("[1E+2]") },
    { "number_real_exponent", T("[123e45]") },
    { "number_real_fraction_exponent", T("[123.456e78]") },
    { "number_real_neg_exp", T("[1e-2]") },
    { "number_real_pos_exponent", T("[1e+2]") },
    { "number_simple_int", T("[123]") },
    { "number_simple_real", T("[123.456789]") },
    { "object", T("{\"asd\":\"sdf\", \"dfg\":\"fgh\"}") },
    { "object_basic", T("{\"asd\":\"sdf\"}") },
    { "object_duplicated_key", T("{\"a\":\"b\",\"a\":\"c\"}") },
    { "object_duplicated_key_and_value", T("{\"a\":\"b\",\"a\":\"b\"}") },
    { "object_empty", T("{}") },
    { "object_empty_key", T("{\"\":0}") },
    { "object_escaped_null_in_key", T("{\"foo\\u0000bar\": 42}") },
    { "object_extreme_numbers", T("{ \"min\": -1.0e+28, \"max\": 1.0e+28 }") },
    { "object_long_strings",
      T("{\"x\":[{\"id\": \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}], "
        "\"id\": \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}") },
    { "object_simple", T("{\"a\":[]}") },
    { "object_string_unicode",
      T("{\"title\":\"\\u041f\\u043e\\u043b\\u0442\\u043e\\u0440\\u0430\"}") },
    { "object_with_newlines", T("{\n\"a\": \"b\"\n}") },
    { "string_1_2_3_bytes_UTF-8_sequences", T("[\"\\u0060\\u012a\\u12AB\"]") },
    { "string_accepted_surrogate_pair", T("[\"\\uD801\\udc37\"]") },
    { "string_accepted_surrogate_pairs",
      T("[\"\\ud83d\\ude39\\ud83d\\udc8d\"]") },
    { "string_allowed_escapes", T("[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"]") },
    { "string_backslash_and_u_escaped_zero", T("[\"\\\\u0000\"]") },
    { "string_backslash_doublequotes", T("[\"\\\"\"]") },
    { "string_comments", T("[\"a/*b*/c/*d//e\"]") },
    { "string_double_escape_a", T("[\"\\\\a\"]") },
    { "string_double_escape_n", T("[\"\\\\n\"]") },
    { "string_escaped_control_character", T("[\"\\u0012\"]") },
    { "string_escaped_noncharacter", T("[\"\\uFFFF\"]") },
    { "string_in_array", T("[\"asd\"]") },
    { "string_in_array_with_leading_space", T("[ \"asd\"]") },
    { "string_last_surrogates_1_and_2", T("[\"\\uDBFF\\uDFFF\"]") },
    { "string_nbsp_uescaped", T("[\"new\\u00A0line\"]") },
    { "string_nonCharacterInUTF-8_U+10FFFF", T("[\"\xf4\x8f\xbf\xbf\"]") },
    { "string_nonCharacterInUTF-8_U+FFFF", T("[\"\xef\xbf\xbf\"]") },
    { "string_null_escape", T("[\"\\u0000\"]") },
    { "string_one-byte-utf-8", T("[\"\\u002c\"]") },
    { "string_pi", T("[\"\xcf\x80\"]") },
    { "string_reservedCharacterInUTF-8_U+1BFFF", T("[\"\xf0\x9b\xbf\xbf\"]") },
    { "string_simple_ascii", T("[\"asd \"]") },
    { "string_space", T("\" \"") },
    { "string_surrogates_U+1D11E_MUSICAL_SYMBOL_G_CLEF",
      T("[\"\\uD834\\uDd1e\"]") },
    { "string_three-byte-utf-8", T("[\"\\u0821\"]") },
    { "string_two-byte-utf-8", T("[\"\\u0123\"]") },
    { "string_u+2028_line_sep", T("[\"\xe2\x80\xa8\"]") },
    { "string_u+2029_par_sep", T("[\"\xe2\x80\xa9\"]") },
    { "string_uEscape", T("[\"\\u0061\\u30af\\u30EA\\u30b9\"]") },
    { "string_uescaped_newline", T("[\"new\\u000Aline\"]") },
    { "string_unescaped_char_delete", T("[\"\x7f\"]") },
    { "string_unicode", T("[\"\\uA66D\"]") },
    { "string_unicodeEscapedBackslash", T("[\"\\u005C\"]") },
    { "string_unicode_2", T("[\"\xe2\x8d\x82\xe3\x88\xb4\xe2\x8d\x82\"]") },
    { "string_unicode_U+10FFFE_nonchar", T("[\"\\uDBFF\\uDFFE\"]") },
    { "string_unicode_U+1FFFE_nonchar", T("[\"\\uD83F\\uDFFE\"]") },
    { "string_unicode_U+200B_ZERO_WIDTH_SPACE", T("[\"\\u200B\"]") },
    { "string_unicode_U+2064_invisible_plus", T("[\"\\u2064\"]") },
    { "string_unicode_U+FDD0_nonchar", T("[\"\\uFDD0\"]") },
    { "string_unicode_U+FFFE_nonchar", T("[\"\\uFFFE\"]") },
    { "string_unicode_escaped_double_quote", T("[\"\\u0022\"]") },
    { "string_utf8", T("[\"\xe2\x82\xac\xf0\x9d\x84\x9e\"]") },
    { "string_with_del_character", T("[\"a\x7f" "a\"]") },
    { "structure_lonely_false", T("false") },
    { "structure_lonely_int", T("42") },
    { "structure_lonely_negative_real", T("-0.1") },
    { "structure_lonely_null", T("null") },
    { "structure_lonely_string", T("\"asd\"") },
    { "structure_lonely_true", T("true") },
    { "structure_string_empty", T("\"\"") },
    { "structure_trailing_newline", T("[\"a\"]\n") },
    { "structure_true_in_array", T("[true]") },
    { "structure_whitespace_array", T(" [] ") },
    { "whitespace of all kinds",
      T(" \t\r\n[ \t\r\n1 \t\r\n, \t\r\n{ \t\r\n\"a\" \t\r\n: \t\r\n2 \t\r"
        "\n} \t\r\n] \t\r\n") },
    { "i_number_double_huge_neg_exp", T("[123.456e-789]") },
    { "i_number_huge_exp",
      T("[0.4e0066999999999999999999999999999999999999999999999999999999999"
        "9999999999999999999999999999969999999006]") },
    { "i_number_neg_int_huge_exp", T("[-1e+9999]") },
    { "i_number_pos_double_huge_exp", T("[1.5e+9999]") },
    { "i_number_real_neg_overflow", T("[-123123e100000]") },
    { "i_number_real_underflow", T("[123e-10000000]") },
    { "i_number_too_big_neg_int", T("[-123123123123123123123123123123]") },
    { "i_number_too_big_pos_int", T("[100000000000000000000]") },
    { "i_number_very_big_negative_int",
      T("[-237462374673276894279832749832423479823246327846]") },
    { "i_object_key_lone_2nd_surrogate", T("{\"\\uDFAA\":0}") },
    { "i_string_1st_surrogate_but_2nd_missing", T("[\"\\uDADA\"]") },
    { "i_string_1st_valid_surrogate_2nd_invalid", T("[\"\\uD888\\u1234\"]") },
    { "i_string_incomplete_surrogate_and_escape_valid",
      T("[\"\\uD800\\n\"]") },
    { "i_string_incomplete_surrogate_pair", T("[\"\\uDd1ea\"]") },
    { "i_string_incomplete_surrogates_escape_valid",
      T("[\"\\uD800\\uD800\\n\"]") },
    { "i_string_invalid_lonely_surrogate", T("[\"\\ud800\"]") },
    { "i_string_invalid_surrogate", T("[\"\\ud800abc\"]") },
    { "i_string_inverted_surrogates_U+1D11E", T("[\"\\uDd1e\\uD834\"]") },
    { "i_string_lone_second_surrogate", T("[\"\\uDFAA\"]") },
    { "1e400", T("1e400") },
    { "an integer of 30 digits", T("123456789012345678901234567890") }
};


static const json_case_t  invalid[] = {
    { "array_1_true_without_comma", T("[1 true]") },
    { "array_a_invalid_utf8", T("[a\xe5]") },
    { "array_colon_instead_of_comma", T("[\"\": 1]") },
    { "array_comma_after_close", T("[\"\"],") },
    { "array_comma_and_number", T("[,1]") },
    { "array_double_comma", T("[1,,2]") },
    { "array_double_extra_comma", T("[\"x\",,]") },
    { "array_extra_close", T("[\"x\"]]") },
    { "array_extra_comma", T("[\"\",]") },
    { "array_incomplete", T("[\"x\"") },
    { "array_incomplete_invalid_value", T("[x") },
    { "array_inner_array_no_comma", T("[3[4]]") },
    { "array_invalid_utf8", T("[\xff]") },
    { "array_items_separated_by_semicolon", T("[1:2]") },
    { "array_just_comma", T("[,]") },
    { "array_just_minus", T("[-]") },
    { "array_missing_value", T("[   , \"\"]") },
    { "array_newlines_unclosed", T("[\"a\",\n4\n,1,") },
    { "array_number_and_comma", T("[1,]") },
    { "array_number_and_several_commas", T("[1,,]") },
    { "array_spaces_vertical_tab_formfeed", T("[\"\x0b" "a\"\\f]") },
    { "array_star_inside", T("[*]") },
    { "array_unclosed", T("[\"\"") },
    { "array_unclosed_trailing_comma", T("[1,") },
    { "array_unclosed_with_new_lines", T("[1,\n1\n,1") },
    { "array_unclosed_with_object_inside", T("[{}") },
    { "incomplete_false", T("[fals]") },
    { "incomplete_null", T("[nul]") },
    { "incomplete_true", T("[tru]") },
    { "multidigit_number_then_00", T("123\x00") },
    { "number_++", T("[++1234]") },
    { "number_+1", T("[+1]") },
    { "number_+Inf", T("[+Inf]") },
    { "number_-01", T("[-01]") },
    { "number_-1.0.", T("[-1.0.]") },
    { "number_-2.", T("[-2.]") },
    { "number_-NaN", T("[-NaN]") },
    { "number_.-1", T("[.-1]") },
    { "number_.2e-3", T("[.2e-3]") },
    { "number_0.1.2", T("[0.1.2]") },
    { "number_0.3e+", T("[0.3e+]") },
    { "number_0.3e", T("[0.3e]") },
    { "number_0.e1", T("[0.e1]") },
    { "number_0_capital_E+", T("[0E+]") },
    { "number_0_capital_E", T("[0E]") },
    { "number_0e+", T("[0e+]") },
    { "number_0e", T("[0e]") },
    { "number_1.0e+", T("[1.0e+]") },
    { "number_1.0e-", T("[1.0e-]") },
    { "number_1.0e", T("[1.0e]") },
    { "number_1_000", T("[1 000.0]") },
    { "number_1eE2", T("[1eE2]") },
    { "number_2.e+3", T("[2.e+3]") },
    { "number_2.e-3", T("[2.e-3]") },
    { "number_2.e3", T("[2.e3]") },
    { "number_9.e+", T("[9.e+]") },
    { "number_Inf", T("[Inf]") },
    { "number_NaN", T("[NaN]") },
    { "number_U+FF11_fullwidth_digit_one", T("[\xef\xbc\x91]") },
    { "number_expression", T("[1+2]") },
    { "number_hex_1_digit", T("[0x1]") },
    { "number_hex_2_digits", T("[0x42]") },
    { "number_infinity", T("[Infinity]") },
    { "number_invalid+-", T("[0e+-1]") },
    { "number_invalid-negative-real", T("[-123.123foo]") },
    { "number_invalid-utf-8-in-bigger-int", T("[123\xe5]") },
    { "number_invalid-utf-8-in-exponent", T("[1e1\xe5]") },
    { "number_invalid-utf-8-in-int", T("[0\xe5]\n") },
    { "number_minus_infinity", T("[-Infinity]") },
    { "number_minus_sign_with_trailing_garbage", T("[-foo]") },
    { "number_minus_space_1", T("[- 1]") },
    { "number_neg_int_starting_with_zero", T("[-012]") },
    { "number_neg_real_without_int_part", T("[-.123]") },
    { "number_neg_with_garbage_at_end", T("[-1x]") },
    { "number_real_garbage_after_e", T("[1ea]") },
    { "number_real_with_invalid_utf8_after_e", T("[1e\xe5]") },
    { "number_real_without_fractional_part", T("[1.]") },
    { "number_starting_with_dot", T("[.123]") },
    { "number_with_alpha", T("[1.2a-3]") },
    { "number_with_alpha_char", T("[1.8011670033376514H-308]") },
    { "number_with_leading_zero", T("[012]") },
    { "a lonely minus", T("-") },
    { "two zeros", T("00") },
    { "object_bad_value", T("[\"x\", truth]") },
    { "object_bracket_key", T("{[: \"x\"}\n") },
    { "object_comma_instead_of_colon", T("{\"x\", null}") },
    { "object_double_colon", T("{\"x\"::\"b\"}") },
    { "object_emoji", T("{\xf0\x9f\x87\xa8\xf0\x9f\x87\xad}") },
    { "object_garbage_at_end", T("{\"a\":\"a\" 123}") },
    { "object_key_with_single_quotes", T("{key: 'value'}") },
    { "object_lone_continuation_byte_in_key_and_trailing_comma",
      T("{\"\xb9\":\"0\",}") },
    { "object_missing_colon", T("{\"a\" b}") },
    { "object_missing_key", T("{:\"b\"}") },
    { "object_missing_semicolon", T("{\"a\" \"b\"}") },
    { "object_missing_value", T("{\"a\":") },
    { "object_no-colon", T("{\"a\"") },
    { "object_non_string_key", T("{1:1}") },
    { "object_non_string_key_but_huge_number_instead", T("{9999E9999:1}") },
    { "object_repeated_null_null", T("{null:null,null:null}") },
    { "object_several_trailing_commas", T("{\"id\":0,,,,,}") },
    { "object_single_quote", T("{'a':0}") },
    { "object_trailing_comma", T("{\"id\":0,}") },
    { "object_trailing_comment", T("{\"a\":\"b\"}/**/") },
    { "object_trailing_comment_open", T("{\"a\":\"b\"}/**//") },
    { "object_trailing_comment_slash_open", T("{\"a\":\"b\"}//") },
    { "object_trailing_comment_slash_open_incomplete", T("{\"a\":\"b\"}/") },
    { "object_two_commas_in_a_row", T("{\"a\":\"b\",,\"c\":\"d\"}") },
    { "object_unquoted_key", T("{a: \"b\"}") },
    { "object_unterminated-value", T("{\"a\":\"a") },
    { "object_with_single_string", T("{ \"foo\" : \"bar\", \"a\" }") },
    { "object_with_trailing_garbage", T("{\"a\":\"b\"}#") },
    { "object_value_is_missing_before_the_brace", T("{\"a\":}") },
    { "object_comma_first", T("{,\"a\":1}") },
    { "object_closed_as_an_array", T("{\"a\":1]") },
    { "array_closed_as_an_object", T("[1}") },
    { "object_in_an_array_closed_in_the_wrong_order", T("[{\"a\":1]}") },
    { "single_space", T(" ") },
    { "string_1_surrogate_then_escape", T("[\"\\uD800\\\"]") },
    { "string_1_surrogate_then_escape_u", T("[\"\\uD800\\u\"]") },
    { "string_1_surrogate_then_escape_u1", T("[\"\\uD800\\u1\"]") },
    { "string_1_surrogate_then_escape_u1x", T("[\"\\uD800\\u1x\"]") },
    { "string_accentuated_char_no_quotes", T("[\xc3\xa9]") },
    { "string_backslash_00", T("[\"\\\x00\"]") },
    { "string_escape_x", T("[\"\\x00\"]") },
    { "string_escaped_backslash_bad", T("[\"\\\\\\\"]") },
    { "string_escaped_ctrl_char_tab", T("[\"\\\t\"]") },
    { "string_escaped_emoji", T("[\"\\\xf0\x9f\x8c\x80\"]") },
    { "string_incomplete_escape", T("[\"\\\"]") },
    { "string_incomplete_escaped_character", T("[\"\\u00A\"]") },
    { "string_incomplete_surrogate", T("[\"\\uD834\\uDd\"]") },
    { "string_incomplete_surrogate_escape_invalid",
      T("[\"\\uD800\\uD800\\x\"]") },
    { "string_invalid-utf-8-in-escape", T("[\"\\u\xe5\"]") },
    { "string_invalid_backslash_esc", T("[\"\\a\"]") },
    { "string_invalid_unicode_escape", T("[\"\\uqqqq\"]") },
    { "string_invalid_utf8_after_escape", T("[\"\\\xe5\"]") },
    { "string_leading_uescaped_thinspace", T("[\\u0020\"asd\"]") },
    { "string_no_quotes_with_bad_escape", T("[\\n]") },
    { "string_single_doublequote", T("\"") },
    { "string_single_quote", T("['single quote']") },
    { "string_single_string_no_double_quotes", T("abc") },
    { "string_start_escape_unclosed", T("[\"\\") },
    { "string_unescaped_ctrl_char", T("[\"a\x00" "a\"]") },
    { "string_unescaped_newline", T("[\"new\nline\"]") },
    { "string_unescaped_tab", T("[\"\t\"]") },
    { "string_unicode_CapitalU", T("\"\\UA66D\"") },
    { "string_with_trailing_garbage", T("\"\"x") },
    { "structure_100_opening_arrays",
      T("[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["
        "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[") },
    { "structure_U+2060_word_joined", T("[\xe2\x81\xa0]") },
    { "structure_UTF8_BOM_no_data", T("\xef\xbb\xbf") },
    { "structure_angle_bracket_.", T("<.>") },
    { "structure_angle_bracket_null", T("[<null>]") },
    { "structure_array_trailing_garbage", T("[1]x") },
    { "structure_array_with_extra_array_close", T("[1]]") },
    { "structure_array_with_unclosed_string", T("[\"asd]") },
    { "structure_ascii-unicode-identifier", T("a\xc3\xa5") },
    { "structure_capitalized_True", T("[True]") },
    { "structure_close_unopened_array", T("1]") },
    { "structure_comma_instead_of_closing_brace", T("{\"x\": true,") },
    { "structure_double_array", T("[][]") },
    { "structure_end_array", T("]") },
    { "structure_incomplete_UTF8_BOM", T("\xef\xbb{}") },
    { "structure_lone-invalid-utf-8", T("\xe5") },
    { "structure_lone-open-bracket", T("[") },
    { "structure_no_data", T("") },
    { "structure_null-byte-outside-string", T("[\x00]") },
    { "structure_number_with_trailing_garbage", T("2@") },
    { "structure_object_followed_by_closing_object", T("{}}") },
    { "structure_object_unclosed_no_value", T("{\"\":") },
    { "structure_object_with_comment", T("{\"a\":/*comment*/\"b\"}") },
    { "structure_object_with_trailing_garbage", T("{\"a\": true} \"x\"") },
    { "structure_open_array_apostrophe", T("['") },
    { "structure_open_array_comma", T("[,") },
    { "structure_open_array_object",
      T("[{\"\":[{\"\":[{\"\":[{\"\":[{\"\":[{\"\":[{\"\":[{\"\":[{\"\":[{"
        "\"\":[{\"\":[{\"\":[{\"\":[{\"\":[{\"\":[{\"\":[{\"\":[{\"\":[{\""
        "\":[{\"\":[{\"\":[{\"\":[{\"\":[{\"\":[{\"\":[{\"\":[{\"\":[{\"\":"
        "[{\"\":[{\"\":[{\"\":[{\"\":[{\"\":[{\"\":[{\"\":[{\"\":[{\"\":[{"
        "\"\":[{\"\":[{\"\":") },
    { "structure_open_array_open_object", T("[{") },
    { "structure_open_array_open_string", T("[\"a") },
    { "structure_open_array_string", T("[\"a\"") },
    { "structure_open_object", T("{") },
    { "structure_open_object_close_array", T("{]") },
    { "structure_open_object_comma", T("{,") },
    { "structure_open_object_open_array", T("{[") },
    { "structure_open_object_open_string", T("{\"a") },
    { "structure_open_object_string_with_apostrophes", T("{'a'") },
    { "structure_open_open", T("[\"\\{[\"\\{[\"\\{[\"\\{") },
    { "structure_single_eacute", T("\xe9") },
    { "structure_single_star", T("*") },
    { "structure_trailing_#", T("{\"a\":\"b\"}#{}") },
    { "structure_uescaped_LF_before_string", T("[\\u000A\"\"]") },
    { "structure_unclosed_array", T("[1") },
    { "structure_unclosed_array_partial_null", T("[ false, nul") },
    { "structure_unclosed_array_unfinished_false", T("[ true, fals") },
    { "structure_unclosed_array_unfinished_true", T("[ false, tru") },
    { "structure_unclosed_object", T("{\"asd\":\"asd\"") },
    { "structure_unicode-identifier", T("\xc3\xa5") },
    { "structure_whitespace_U+2060_word_joiner", T("\xe2\x81\xa0") },
    { "structure_whitespace_formfeed", T("[\x0c]") },
    { "structure_whitespace_vertical_tab", T("[\x0b]") },
    { "structure_whitespace_nbsp", T("[\xc2\xa0]") },
    { "i_string_UTF-16LE_with_BOM",
      T("\xff\xfe[\x00\"\x00\xe9\x00\"\x00]\x00") },
    { "i_string_utf16BE_no_BOM", T("\x00[\x00\"\x00\xe9\x00\"\x00]") },
    { "i_string_utf16LE_no_BOM", T("[\x00\"\x00\xe9\x00\"\x00]\x00") },
    { "i_string_UTF-8_invalid_sequence", T("[\"\xe6\x97\xa5\xd1\x88\xfa\"]") },
    { "i_string_UTF8_surrogate_U+D800", T("[\"\xed\xa0\x80\"]") },
    { "i_string_invalid_utf-8", T("[\"\xff\"]") },
    { "i_string_iso_latin_1", T("[\"\xe9\"]") },
    { "i_string_lone_utf8_continuation_byte", T("[\"\x81\"]") },
    { "i_string_not_in_unicode_range", T("[\"\xf4\xbf\xbf\xbf\"]") },
    { "i_string_overlong_sequence_2_bytes", T("[\"\xc0\xaf\"]") },
    { "i_string_overlong_sequence_6_bytes",
      T("[\"\xfc\x83\xbf\xbf\xbf\xbf\"]") },
    { "i_string_overlong_sequence_6_bytes_null",
      T("[\"\xfc\x80\x80\x80\x80\x80\"]") },
    { "i_string_truncated-utf-8", T("[\"\xe0\xff\"]") },
    { "i_structure_UTF-8_BOM_empty_object", T("\xef\xbb\xbf{}") }
};


static const walk_case_t  walks[] = {
    { "{}", NGX_DONE, { { NULL } } },
    { " \t\r\n{ \t\r\n} \t\r\n", NGX_DONE, { { NULL } } },
    { "{\"a\":1}", NGX_DONE, { { "\"a\"", "1", NGX_WS_BUS_JSON_NUMBER } } },
    { "{ \"a\" : 1 , \"b\" : \"x\" }", NGX_DONE,
      { { "\"a\"", "1", NGX_WS_BUS_JSON_NUMBER },
        { "\"b\"", "\"x\"", NGX_WS_BUS_JSON_STRING } } },
    { "{\"\":null,\"\\u0061\":false,\"a\":true,\"a\":-1.5e+3,\"\\\"\":\"\","
      "\"[]\":[],\"{}\":{}}", NGX_DONE,
      { { "\"\"", "null", NGX_WS_BUS_JSON_NULL },
        { "\"\\u0061\"", "false", NGX_WS_BUS_JSON_FALSE },
        { "\"a\"", "true", NGX_WS_BUS_JSON_TRUE },
        { "\"a\"", "-1.5e+3", NGX_WS_BUS_JSON_NUMBER },
        { "\"\\\"\"", "\"\"", NGX_WS_BUS_JSON_STRING },
        { "\"[]\"", "[]", NGX_WS_BUS_JSON_ARRAY },
        { "\"{}\"", "{}", NGX_WS_BUS_JSON_OBJECT } } },
    { "{\"o\": {\"a\": [1, {\"b\": \"}\"} ] } ,\"z\":[ [ ] , 1 ] }", NGX_DONE,
      { { "\"o\"", "{\"a\": [1, {\"b\": \"}\"} ] }", NGX_WS_BUS_JSON_OBJECT },
        { "\"z\"", "[ [ ] , 1 ]", NGX_WS_BUS_JSON_ARRAY } } },
    { "{\"n\":1e400,\"i\":123456789012345678901234567890,\"0\":\"\\u0000\"}",
      NGX_DONE,
      { { "\"n\"", "1e400", NGX_WS_BUS_JSON_NUMBER },
        { "\"i\"", "123456789012345678901234567890",
          NGX_WS_BUS_JSON_NUMBER },
        { "\"0\"", "\"\\u0000\"", NGX_WS_BUS_JSON_STRING } } },
    { "{\"a\":\": \\\" ,\" }", NGX_DONE,
      { { "\"a\"", "\": \\\" ,\"", NGX_WS_BUS_JSON_STRING } } },

    { "", NGX_DECLINED, { { NULL } } },
    { " ", NGX_DECLINED, { { NULL } } },
    { "[]", NGX_DECLINED, { { NULL } } },
    { "1", NGX_DECLINED, { { NULL } } },
    { "\"{}\"", NGX_DECLINED, { { NULL } } },
    { "\xef\xbb\xbf{}", NGX_DECLINED, { { NULL } } },

    { "{", NGX_ERROR, { { NULL } } },
    { "{ ", NGX_ERROR, { { NULL } } },
    { "{,", NGX_ERROR, { { NULL } } },
    { "{,}", NGX_ERROR, { { NULL } } },
    { "{}x", NGX_ERROR, { { NULL } } },
    { "{} {}", NGX_ERROR, { { NULL } } },
    { "{}}", NGX_ERROR, { { NULL } } },
    { "{]", NGX_ERROR, { { NULL } } },
    { "{a:1}", NGX_ERROR, { { NULL } } },
    { "{\"a\"}", NGX_ERROR, { { NULL } } },
    { "{\"a\":}", NGX_ERROR, { { NULL } } },
    { "{\"a\":x}", NGX_ERROR, { { NULL } } },
    { "{\"a\":[1}", NGX_ERROR, { { NULL } } },
    { "{,\"a\":1}", NGX_ERROR, { { NULL } } },
    { "{\"a\":1,}", NGX_ERROR,
      { { "\"a\"", "1", NGX_WS_BUS_JSON_NUMBER } } },
    { "{\"a\":1,", NGX_ERROR,
      { { "\"a\"", "1", NGX_WS_BUS_JSON_NUMBER } } },
    { "{\"a\":1", NGX_ERROR,
      { { "\"a\"", "1", NGX_WS_BUS_JSON_NUMBER } } },
    { "{\"a\":1]", NGX_ERROR,
      { { "\"a\"", "1", NGX_WS_BUS_JSON_NUMBER } } },
    { "{\"a\":1 \"b\":2}", NGX_ERROR,
      { { "\"a\"", "1", NGX_WS_BUS_JSON_NUMBER } } },
    { "{\"a\":1,,\"b\":2}", NGX_ERROR,
      { { "\"a\"", "1", NGX_WS_BUS_JSON_NUMBER } } },
    { "{\"a\":1}x", NGX_ERROR,
      { { "\"a\"", "1", NGX_WS_BUS_JSON_NUMBER } } },
    { "{\"a\":1,\"b\":\"\xff\"}", NGX_ERROR,
      { { "\"a\"", "1", NGX_WS_BUS_JSON_NUMBER } } }
};


static const is_case_t  same[] = {
    { "\"\"", T(""), 1 },
    { "\"a\"", T("a"), 1 },
    { "\"type\"", T("type"), 1 },
    { "\"t\\u0079pe\"", T("type"), 1 },
    { "\"\\u0074\\u0079\\u0070\\u0065\"", T("type"), 1 },
    { "\"\\\"\"", T("\""), 1 },
    { "\"\\\\\"", T("\\"), 1 },
    { "\"\\/\"", T("/"), 1 },
    { "\"/\"", T("/"), 1 },
    { "\"\\b\\f\\n\\r\\t\"", T("\b\f\n\r\t"), 1 },
    { "\"\\u0000\"", T("\0"), 1 },
    { "\"a\\u0000b\"", T("a\0b"), 1 },
    { "\"\\u00e4\"", T("\xc3\xa4"), 1 },
    { "\"\xc3\xa4\"", T("\xc3\xa4"), 1 },
    { "\"\\u20AC\"", T("\xe2\x82\xac"), 1 },
    { "\"\\ud834\\udd1e!\"", T("\xf0\x9d\x84\x9e!"), 1 },

    { "\"\"", T("a"), 0 },
    { "\"a\"", T(""), 0 },
    { "\"a\"", T("b"), 0 },
    { "\"a\"", T("A"), 0 },
    { "\"typ\"", T("type"), 0 },
    { "\"types\"", T("type"), 0 },
    { "\"typ\\u0065s\"", T("type"), 0 },
    { "\"typ\\u0066\"", T("type"), 0 },
    { "\"type\\u0000\"", T("type"), 0 },
    { "\"\\n\"", T("\\n"), 0 },
    { "\"\\\\n\"", T("\n"), 0 },
    { "\"\\u0061\"", T("\\u0061"), 0 },
    { "\"\\u20ac\"", T("\xe2\x82"), 0 },
    { "\"\\u20ac\"", T("\xe2\x82\xad"), 0 },
    { "\"\\ud834\"", T("\xed\xa0\xb4"), 0 },
    { "\"\\udd1e\"", T("\xed\xb4\x9e"), 0 },
    { "\"\\ud834x\"", T("x"), 0 },
    { "\"a\\ud834\\u0061\"", T("aa"), 0 }
};


static const unescape_case_t  unescapes[] = {
    { "\"\"", T("") },
    { "\"a\"", T("a") },
    { "\"plain text of some length\"", T("plain text of some length") },
    { "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", T("\"\\/\b\f\n\r\t") },
    { "\"a\\nb\"", T("a\nb") },
    { "\"\\n\\n\\n\"", T("\n\n\n") },
    { "\"\\na\"", T("\na") },
    { "\"a\\n\"", T("a\n") },
    { "\"\\\\n\"", T("\\n") },
    { "\"\\\\\\n\"", T("\\\n") },
    { "\"\\\\u0041\"", T("\\u0041") },
    { "\"\\u0041\"", T("A") },
    { "\"\\u0022\\u005c\"", T("\"\\") },
    { "\"x\\u0000y\\u0000\"", T("x\0y\0") },
    { "\"\\u00e4\\u00E4\"", T("\xc3\xa4\xc3\xa4") },
    { "\"\\u20ac 5\"", T("\xe2\x82\xac 5") },
    { "\"\\uFFFF\\ufffe\"", T("\xef\xbf\xbf\xef\xbf\xbe") },
    { "\"\\uD834\\uDD1E\"", T("\xf0\x9d\x84\x9e") },
    { "\"a\\ud83d\\ude39b\\ud83d\\udc8d\"",
      T("a\xf0\x9f\x98\xb9" "b\xf0\x9f\x92\x8d") },
    { "\"\\udbff\\udfff\"", T("\xf4\x8f\xbf\xbf") },
    { "\"\\ud800\\udc00\"", T("\xf0\x90\x80\x80") },
    { "\"\xe2\x82\xac\\u20ac\xe2\x82\xac\"",
      T("\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac") },

    { "\"\\ud800\"", NULL, 0 },
    { "\"\\udbff\"", NULL, 0 },
    { "\"\\udc00\"", NULL, 0 },
    { "\"\\udfff\"", NULL, 0 },
    { "\"\\ud800x\"", NULL, 0 },
    { "\"\\ud800\\n\"", NULL, 0 },
    { "\"\\ud800\\\\udc00\"", NULL, 0 },
    { "\"\\ud800\\u0041\"", NULL, 0 },
    { "\"\\ud800\\ue000\"", NULL, 0 },
    { "\"\\ud800\\ud800\\udc00\"", NULL, 0 },
    { "\"\\udc00\\ud800\"", NULL, 0 },
    { "\"\\ud800\\udc00\\udc00\"", NULL, 0 },
    { "\"\\ud800 \\udc00\"", NULL, 0 },
    { "\"abc\\ud800\"", NULL, 0 }
};


static const uint_case_t  uints[] = {
    { "0", 0, NGX_OK },
    { "1", 1, NGX_OK },
    { "9", 9, NGX_OK },
    { "10", 10, NGX_OK },
    { "4294967296", 4294967296ULL, NGX_OK },
    { "9007199254740990", 9007199254740990ULL, NGX_OK },
    { "9007199254740991", 9007199254740991ULL, NGX_OK },

    { "9007199254740992", 0, NGX_ERROR },
    { "9999999999999999", 0, NGX_ERROR },
    { "10000000000000000", 0, NGX_ERROR },
    { "18446744073709551615", 0, NGX_ERROR },
    { "18446744073709551616", 0, NGX_ERROR },
    { "123456789012345678901234567890", 0, NGX_ERROR },
    { "-0", 0, NGX_ERROR },
    { "-1", 0, NGX_ERROR },
    { "1.0", 0, NGX_ERROR },
    { "1e0", 0, NGX_ERROR },
    { "1E2", 0, NGX_ERROR },
    { "0.5", 0, NGX_ERROR },
    { "+1", 0, NGX_ERROR },
    { "01", 0, NGX_ERROR },
    { "00", 0, NGX_ERROR },
    { "", 0, NGX_ERROR },
    { " 1", 0, NGX_ERROR },
    { "1 ", 0, NGX_ERROR },
    { "/", 0, NGX_ERROR },
    { ":", 0, NGX_ERROR },
    { "\"1\"", 0, NGX_ERROR },
    { "true", 0, NGX_ERROR },
    { "null", 0, NGX_ERROR },
    { "[]", 0, NGX_ERROR },
    { "{}", 0, NGX_ERROR }
};


int
main(void)
{
    test_valid();
    test_invalid();
    test_prefixes();
    test_white_space();
    test_bytes_in_strings();
    test_utf8_in_strings();
    test_escapes();
    test_depth();

    test_walk();
    test_walk_slices();

    test_is();
    test_unescape();
    test_units();
    test_pairs();

    test_escape();
    test_escape_bytes();

    test_uint();

    return tap_done();
}


/* memory of its own size, for ASan to see a read beyond; to be freed */

static u_char *
copy(const char *data, size_t len)
{
    u_char  *p;

    p = malloc(len ? len : 1);

    if (p == NULL) {
        abort();
    }

    ngx_memcpy(p, data, len);

    return p;
}


static ngx_int_t
valid_of(const char *data, size_t len)
{
    u_char     *p;
    ngx_int_t   rc;

    p = copy(data, len);
    rc = ngx_ws_bus_json_valid(p, len);
    free(p);

    return rc;
}


/* how a walk over the whole text ends */

static ngx_int_t
walk_of(const char *data, size_t len)
{
    u_char                    *p;
    ngx_int_t                  rc;
    ngx_ws_bus_json_object_t   o;

    p = copy(data, len);

    rc = ngx_ws_bus_json_object(&o, p, len);

    while (rc == NGX_OK) {
        rc = ngx_ws_bus_json_next(&o);
    }

    free(p);

    return rc;
}


static size_t
encode(u_char *p, uint32_t cp)
{
    if (cp < 0x80) {
        p[0] = (u_char) cp;
        return 1;
    }

    if (cp < 0x800) {
        p[0] = (u_char) (0xc0 + cp / 64);
        p[1] = (u_char) (0x80 + cp % 64);
        return 2;
    }

    if (cp < 0x10000) {
        p[0] = (u_char) (0xe0 + cp / 4096);
        p[1] = (u_char) (0x80 + cp / 64 % 64);
        p[2] = (u_char) (0x80 + cp % 64);
        return 3;
    }

    p[0] = (u_char) (0xf0 + cp / 262144);
    p[1] = (u_char) (0x80 + cp / 4096 % 64);
    p[2] = (u_char) (0x80 + cp / 64 % 64);
    p[3] = (u_char) (0x80 + cp % 64);

    return 4;
}


static void
test_valid(void)
{
    ngx_int_t           rc;
    ngx_uint_t          i;
    const json_case_t  *c;

    for (i = 0; i < sizeof(valid) / sizeof(valid[0]); i++) {
        c = &valid[i];

        tap_is(valid_of(c->text, c->len), NGX_OK, "valid: %s", c->name);

        rc = walk_of(c->text, c->len);

        tap_each(rc == NGX_DONE || rc == NGX_DECLINED, "%s", c->name);
    }

    tap_all("a walk takes all of them that are objects");
}


static void
test_invalid(void)
{
    ngx_int_t           rc;
    ngx_uint_t          i;
    const json_case_t  *c;

    for (i = 0; i < sizeof(invalid) / sizeof(invalid[0]); i++) {
        c = &invalid[i];

        tap_is(valid_of(c->text, c->len), NGX_ERROR, "invalid: %s", c->name);

        rc = walk_of(c->text, c->len);

        tap_each(rc == NGX_ERROR || rc == NGX_DECLINED, "%s", c->name);
    }

    tap_all("a walk takes none of them");
}


/* a text that ends with a bracket or a quote has no shorter text in it */

static void
test_prefixes(void)
{
    char                last;
    size_t              n;
    ngx_uint_t          i;
    const json_case_t  *c;

    for (i = 0; i < sizeof(valid) / sizeof(valid[0]); i++) {
        c = &valid[i];
        last = c->text[c->len - 1];

        if (last != ']' && last != '}' && last != '"') {
            continue;
        }

        for (n = 0; n < c->len; n++) {
            tap_each(valid_of(c->text, n) == NGX_ERROR, "%s, %d bytes",
                     c->name, (int) n);
            tap_each(walk_of(c->text, n) != NGX_DONE, "%s, %d bytes, walk",
                     c->name, (int) n);
        }
    }

    tap_all("every prefix is invalid");
}


/* wherever white space may be, only white space may be */

static void
test_white_space(void)
{
    int         n, want;
    char        buf[64];
    size_t      len;
    ngx_uint_t  i, ch;

    static const char *const  parts[] = {
        "%c{\"a\":1,\"b\":[2]}", "{%c\"a\":1,\"b\":[2]}",
        "{\"a\"%c:1,\"b\":[2]}", "{\"a\":%c1,\"b\":[2]}",
        "{\"a\":1%c,\"b\":[2]}", "{\"a\":1,%c\"b\":[2]}",
        "{\"a\":1,\"b\":[%c2]}", "{\"a\":1,\"b\":[2%c]}",
        "{\"a\":1,\"b\":[2]%c}", "{\"a\":1,\"b\":[2]}%c",
        "[%c]", "{%c}", "[[]%c,[]]", "[{},%c{}]", "%cnull", "null%c"
    };

    for (i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {

        for (ch = 0; ch < 256; ch++) {

            /* a digit, a sign, a dot, an exponent */

            if (strchr("0123456789-.eE", (int) ch) && ch) {
                continue;
            }

            n = snprintf(buf, sizeof(buf), parts[i], (int) ch);
            len = (size_t) n;

            want = ch == ' ' || ch == '\t' || ch == '\r' || ch == '\n';

            tap_each(valid_of(buf, len) == (want ? NGX_OK : NGX_ERROR),
                     "\"%s\" with %02x", parts[i], (int) ch);
            tap_each((walk_of(buf, len) == NGX_DONE)
                     == (want && strchr(parts[i], '[') != parts[i]
                         && strchr(parts[i], 'u') == NULL),
                     "\"%s\" with %02x, walk", parts[i], (int) ch);
        }
    }

    tap_all("four bytes are white space");
}


/* every byte at every place of a string, wherever words begin */

static void
test_bytes_in_strings(void)
{
    int         want;
    char        buf[32];
    size_t      len, at;
    ngx_uint_t  ch;

    for (len = 1; len <= 20; len++) {

        for (at = 0; at < len; at++) {

            for (ch = 0; ch < 256; ch++) {
                buf[0] = '"';
                ngx_memset(buf + 1, 'x', len);
                buf[1 + at] = (char) ch;
                buf[1 + len] = '"';

                want = ch >= 0x20 && ch < 0x80 && ch != '"' && ch != '\\';

                tap_each(valid_of(buf, len + 2)
                         == (want ? NGX_OK : NGX_ERROR),
                         "%02x at %d of %d", (int) ch, (int) at, (int) len);
            }
        }
    }

    tap_all("bytes that stand for themselves in a string");
}


static void
test_utf8_in_strings(void)
{
    char        buf[48];
    size_t      n, at;
    ngx_int_t   want;
    ngx_uint_t  i;

    static const struct {
        const char  *bytes;
        ngx_int_t    rc;
    } parts[] = {
        { "\xc2\x80", NGX_OK },
        { "\xdf\xbf", NGX_OK },
        { "\xe0\xa0\x80", NGX_OK },
        { "\xed\x9f\xbf", NGX_OK },
        { "\xee\x80\x80", NGX_OK },
        { "\xef\xbf\xbf", NGX_OK },
        { "\xf0\x90\x80\x80", NGX_OK },
        { "\xf4\x8f\xbf\xbf", NGX_OK },
        { "\x80", NGX_ERROR },
        { "\xbf", NGX_ERROR },
        { "\xc0\x80", NGX_ERROR },
        { "\xc1\xbf", NGX_ERROR },
        { "\xc2", NGX_ERROR },
        { "\xc2\xc2\x80", NGX_ERROR },
        { "\xe0\x9f\xbf", NGX_ERROR },
        { "\xe2\x82", NGX_ERROR },
        { "\xed\xa0\x80", NGX_ERROR },
        { "\xed\xbf\xbf", NGX_ERROR },
        { "\xf0\x8f\xbf\xbf", NGX_ERROR },
        { "\xf0\x9d\x84", NGX_ERROR },
        { "\xf4\x90\x80\x80", NGX_ERROR },
        { "\xf8\x88\x80\x80\x80", NGX_ERROR },
        { "\xfe", NGX_ERROR },
        { "\xff", NGX_ERROR }
    };

    for (i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {

        n = strlen(parts[i].bytes);
        want = parts[i].rc;

        for (at = 0; at <= 20; at++) {
            ngx_memset(buf, 'x', sizeof(buf));
            buf[0] = '"';
            ngx_memcpy(buf + 1 + at, parts[i].bytes, n);

            buf[1 + at + n] = '"';
            tap_each(valid_of(buf, at + n + 2) == want, "%d at %d, the end",
                     (int) i, (int) at);

            buf[1 + at + n] = 'x';
            buf[1 + at + n + 9] = '"';
            tap_each(valid_of(buf, at + n + 11) == want, "%d at %d",
                     (int) i, (int) at);

            buf[1 + at + n] = '\\';
            buf[1 + at + n + 1] = 'n';
            tap_each(valid_of(buf, at + n + 11) == want,
                     "%d at %d, an escape follows", (int) i, (int) at);
        }
    }

    /* an escape does not join what is on its sides */

    tap_each(valid_of("\"\xc2\\n\x80\"", 6) == NGX_ERROR, "across an escape");
    tap_each(valid_of("[\"\xc2\",\"\x80\"]", 9) == NGX_ERROR,
             "across strings");
    tap_each(valid_of("{\"\xc3\xa4\":\"\xc3\xa4\"}", 11) == NGX_OK, "name");
    tap_each(valid_of("{\"\xc3\":\"\xa4\"}", 9) == NGX_ERROR, "bad name");

    tap_all("UTF-8 in strings");
}


/* every byte behind a backslash, every byte for a hexadecimal digit */

static void
test_escapes(void)
{
    int         want;
    char        buf[32];
    size_t      at, i;
    ngx_uint_t  ch;

    for (at = 0; at <= 9; at++) {

        for (ch = 0; ch < 256; ch++) {
            ngx_memset(buf, 'x', sizeof(buf));
            buf[0] = '"';
            buf[1 + at] = '\\';
            buf[2 + at] = (char) ch;
            buf[5 + at] = '"';

            want = ch && strchr("\"\\/bfnrt", (int) ch) != NULL;

            tap_each(valid_of(buf, at + 6) == (want ? NGX_OK : NGX_ERROR),
                     "%02x at %d", (int) ch, (int) at);
        }

        for (i = 0; i < 4; i++) {

            for (ch = 0; ch < 256; ch++) {
                ngx_memset(buf, 'x', sizeof(buf));
                buf[0] = '"';
                ngx_memcpy(buf + 1 + at, "\\u0000", 6);
                buf[3 + at + i] = (char) ch;
                buf[7 + at] = '"';

                want = ch
                       && strchr("0123456789abcdefABCDEF", (int) ch) != NULL;

                tap_each(valid_of(buf, at + 8) == (want ? NGX_OK : NGX_ERROR),
                         "digit %d, %02x at %d", (int) i, (int) ch, (int) at);
            }
        }
    }

    tap_all("escapes");
}


/* "inside" in so many of "open" and "close" */

static size_t
nested(char *p, ngx_uint_t depth, const char *open, const char *inside,
    const char *close)
{
    size_t      len;
    ngx_uint_t  i;

    len = 0;

    for (i = 0; i < depth; i++) {
        len += (size_t) sprintf(p + len, "%s", open);
    }

    len += (size_t) sprintf(p + len, "%s", inside);

    for (i = 0; i < depth; i++) {
        len += (size_t) sprintf(p + len, "%s", close);
    }

    return len;
}


static void
test_depth(void)
{
    char        buf[8192], object[8192 + 16];
    size_t      len, n;
    ngx_int_t   want;
    ngx_uint_t  i, depth;

    static const struct {
        const char  *open;
        const char  *inside;
        const char  *close;
        ngx_uint_t   more;         /* levels inside */
    } parts[] = {
        { "[", "", "]", 0 },
        { "[", "1", "]", 0 },
        { "[", "{}", "]", 1 },
        { "[ [], ", "{}", ", 1 ]", 1 },
        { "{\"a\":", "null", "}", 0 },
        { "{\"a\":", "[]", "}", 1 },
        { "{\"a\":[],\"b\":", "[]", ",\"c\":{}}", 1 }
    };

    static const char  mixed[] = "[{\"a\":[{\"a\":[[{\"a\":{\"a\":[]}}]]}]}]";

    for (i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {

        for (depth = 1; depth < 200; depth++) {
            len = nested(buf, depth, parts[i].open, parts[i].inside,
                         parts[i].close);

            want = depth + parts[i].more <= NGX_WS_BUS_JSON_DEPTH
                   ? NGX_OK : NGX_ERROR;

            tap_each(valid_of(buf, len) == want, "%s %d", parts[i].open,
                     (int) depth);

            n = snprintf(object, sizeof(object), "{\"x\":%.*s}", (int) len,
                         buf);

            tap_each(walk_of(object, n)
                     == (want == NGX_OK ? NGX_DONE : NGX_ERROR),
                     "%s %d in an object", parts[i].open, (int) depth);
        }
    }

    /* what is closed does not count */

    len = 0;
    buf[len++] = '[';

    for (i = 0; i < 1000; i++) {
        ngx_memcpy(buf + len, "[{}],", 5);
        len += 5;
    }

    buf[len - 1] = ']';

    tap_each(valid_of(buf, len) == NGX_OK, "wide");

    /* kinds are remembered at each level */

    for (i = 0; i < sizeof(mixed) - 1; i++) {
        ngx_memcpy(buf, mixed, sizeof(mixed) - 1);

        if (buf[i] != ']' && buf[i] != '}') {
            continue;
        }

        tap_each(valid_of(buf, sizeof(mixed) - 1) == NGX_OK, "mixed");

        buf[i] ^= ']' ^ '}';

        tap_each(valid_of(buf, sizeof(mixed) - 1) == NGX_ERROR, "mixed, %d",
                 (int) i);
    }

    tap_all("depth");
}


static void
test_walk(void)
{
    u_char                    *p;
    size_t                     len;
    ngx_int_t                  rc;
    ngx_uint_t                 i, n;
    const char                *key, *value;
    const walk_case_t         *c;
    ngx_ws_bus_json_object_t   o;

    for (i = 0; i < sizeof(walks) / sizeof(walks[0]); i++) {
        c = &walks[i];

        len = strlen(c->text);
        p = copy(c->text, len);

        rc = ngx_ws_bus_json_object(&o, p, len);

        for (n = 0; rc == NGX_OK; n++) {
            rc = ngx_ws_bus_json_next(&o);

            if (rc != NGX_OK) {
                break;
            }

            key = c->members[n].key;
            value = c->members[n].value;

            if (!tap_each(key != NULL, "%s: one too many", c->text)) {
                break;
            }

            tap_each(o.key.len == strlen(key)
                     && ngx_memcmp(o.key.data, key, o.key.len) == 0,
                     "%s: name %d", c->text, (int) n);
            tap_each(o.value.len == strlen(value)
                     && ngx_memcmp(o.value.data, value, o.value.len) == 0,
                     "%s: value %d", c->text, (int) n);
            tap_each(o.type == c->members[n].type, "%s: type %d", c->text,
                     (int) n);
            tap_each(o.key.data > p && o.key.data < o.value.data
                     && o.value.data + o.value.len <= p + len,
                     "%s: slices of the text", c->text);
        }

        tap_each(rc != NGX_OK && (rc == NGX_DECLINED
                                  || c->members[n].key == NULL),
                 "%s: one too few", c->text);

        tap_is(rc, c->rc, "walk %d, %d members", (int) i, (int) n);

        free(p);
    }

    tap_all("members");
}


/* what has been passed may be changed; a walk into a value is one like any */

static void
test_walk_slices(void)
{
    u_char                    *p;
    ngx_uint_t                 n;
    ngx_ws_bus_json_object_t   o, inner;

    static const char  text[] =
        "{\"a\":\"\\u0041\\n\",\"o\":{\"x\":[1],\"y\":2},\"z\":\"\"}";

    p = copy(text, sizeof(text) - 1);

    tap_is(ngx_ws_bus_json_object(&o, p, sizeof(text) - 1), NGX_OK,
           "an object");

    n = 0;

    while (ngx_ws_bus_json_next(&o) == NGX_OK) {

        if (o.type == NGX_WS_BUS_JSON_STRING) {
            tap_is(ngx_ws_bus_json_unescape(&o.value), NGX_OK, "a string");
            ngx_memset(o.key.data, 0xff, o.value.data - o.key.data);

        } else {
            tap_is(ngx_ws_bus_json_object(&inner, o.value.data, o.value.len),
                   NGX_OK, "the object in it");
            tap_is(ngx_ws_bus_json_next(&inner), NGX_OK, "its first member");
            tap_is(inner.type, NGX_WS_BUS_JSON_ARRAY, "is an array");
            tap_is(ngx_ws_bus_json_next(&inner), NGX_OK, "its second member");
            tap_is(inner.type, NGX_WS_BUS_JSON_NUMBER, "is a number");
            tap_is(ngx_ws_bus_json_next(&inner), NGX_DONE, "its end");
        }

        n++;
    }

    tap_is(n, 3, "all members are seen");

    free(p);
}


static void
test_is(void)
{
    u_char      *name;
    ngx_str_t    raw;
    ngx_uint_t   i;

    for (i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        raw.len = strlen(same[i].raw);
        raw.data = copy(same[i].raw, raw.len);
        name = copy(same[i].name, same[i].len);

        tap_is(ngx_ws_bus_json_is(&raw, name, same[i].len), same[i].same,
               "%s is %s", same[i].raw, same[i].same ? "it" : "another");

        free(raw.data);
        free(name);
    }
}


static void
test_unescape(void)
{
    u_char                 *p;
    ngx_str_t               s;
    ngx_uint_t              i;
    const unescape_case_t  *c;

    for (i = 0; i < sizeof(unescapes) / sizeof(unescapes[0]); i++) {
        c = &unescapes[i];

        s.len = strlen(c->raw);
        s.data = copy(c->raw, s.len);
        p = s.data;

        tap_each(ngx_ws_bus_json_valid(s.data, s.len) == NGX_OK, "%s",
                 c->raw);

        tap_is(ngx_ws_bus_json_unescape(&s), c->text ? NGX_OK : NGX_ERROR,
               "unescape %s", c->raw);

        if (c->text) {
            tap_each(s.len == c->len
                     && ngx_memcmp(s.data, c->text, s.len) == 0,
                     "%s", c->raw);
            tap_each(s.data >= p && s.data + s.len <= p + strlen(c->raw),
                     "%s: in place", c->raw);
        }

        free(p);
    }

    tap_all("strings unescaped");
}


/* each \uXXXX alone */

static void
test_units(void)
{
    char        buf[16];
    u_char      want[4];
    size_t      n;
    ngx_str_t   s;
    ngx_uint_t  unit, upper;

    for (unit = 0; unit < 0x10000; unit++) {

        for (upper = 0; upper < 2; upper++) {
            s.len = snprintf(buf, sizeof(buf),
                             upper ? "\"\\u%04X\"" : "\"\\u%04x\"",
                             (int) unit);
            s.data = (u_char *) buf;

            n = encode(want, unit);

            if (unit >= 0xd800 && unit < 0xe000) {
                tap_each(!ngx_ws_bus_json_is(&s, want, n), "%04x is",
                         (int) unit);
                tap_each(ngx_ws_bus_json_unescape(&s) == NGX_ERROR, "%04x",
                         (int) unit);
                continue;
            }

            tap_each(ngx_ws_bus_json_is(&s, want, n), "%04x is", (int) unit);
            tap_each(ngx_ws_bus_json_unescape(&s) == NGX_OK
                     && s.len == n && ngx_memcmp(s.data, want, n) == 0,
                     "%04x", (int) unit);
        }
    }

    tap_all("every \\uXXXX");
}


/* each two of which the first is half a pair, in steps */

static void
test_pairs(void)
{
    char        buf[16];
    u_char      want[4];
    size_t      n;
    ngx_str_t   s;
    ngx_uint_t  first, second;

    for (first = 0xd800; first < 0xdc00; first += 3) {

        for (second = 0xd7f9; second < 0xe008; second += 5) {
            s.len = snprintf(buf, sizeof(buf), "\"\\u%04x\\u%04x\"",
                             (int) first, (int) second);
            s.data = (u_char *) buf;

            if (second < 0xdc00 || second > 0xdfff) {
                tap_each(ngx_ws_bus_json_unescape(&s) == NGX_ERROR,
                         "%04x %04x", (int) first, (int) second);
                continue;
            }

            n = encode(want, 0x10000 + (first - 0xd800) * 0x400
                             + (second - 0xdc00));

            tap_each(ngx_ws_bus_json_is(&s, want, n), "%04x %04x is",
                     (int) first, (int) second);
            tap_each(ngx_ws_bus_json_unescape(&s) == NGX_OK
                     && s.len == n && ngx_memcmp(s.data, want, n) == 0,
                     "%04x %04x", (int) first, (int) second);
        }
    }

    tap_all("surrogate pairs");
}


static void
test_escape(void)
{
    u_char      *src, *dst, *last;
    size_t       size;
    ngx_uint_t   i;

    static const struct {
        const char  *text;
        size_t       len;
        const char  *want;
    } parts[] = {
        { T(""), "" },
        { T("a"), "a" },
        { T("plain text of some length"), "plain text of some length" },
        { T("\"quoted\""), "\\\"quoted\\\"" },
        { T("\\"), "\\\\" },
        { T("/"), "/" },
        { T("\b\f\n\r\t"), "\\b\\f\\n\\r\\t" },
        { T("\0\x01\x1f\x0b"), "\\u0000\\u0001\\u001f\\u000b" },
        { T("\x7f"), "\x7f" },
        { T("<>&'"), "<>&'" },
        { T("\xc3\xa4\xe2\x80\xa8\xf0\x9d\x84\x9e"),
          "\xc3\xa4\xe2\x80\xa8\xf0\x9d\x84\x9e" },
        { T("line 1\nline 2\nline 3"), "line 1\\nline 2\\nline 3" },
        { T("{\"a\":\"b\\n\"}"), "{\\\"a\\\":\\\"b\\\\n\\\"}" }
    };

    for (i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        src = copy(parts[i].text, parts[i].len);
        size = ngx_ws_bus_json_escape_size(src, parts[i].len);

        if (tap_is(size, strlen(parts[i].want), "size of %s",
                   parts[i].want))
        {
            dst = malloc(size + 1);
            last = ngx_ws_bus_json_escape(dst, src, parts[i].len);

            tap_ok(last == dst + size
                   && ngx_memcmp(dst, parts[i].want, size) == 0,
                   "escape to %s", parts[i].want);

            free(dst);
        }

        free(src);
    }

    tap_is(ngx_ws_bus_json_escape_size(NULL, 0), 0, "size of nothing");
    tap_ok(ngx_ws_bus_json_escape(NULL, NULL, 0) == NULL, "nothing");
}


/* every ASCII byte at every place comes back, and only what must is longer */

static void
test_escape_bytes(void)
{
    u_char      *src, *dst;
    size_t       len, at, size;
    ngx_str_t    s;
    ngx_uint_t   ch;

    for (len = 1; len <= 20; len++) {

        for (at = 0; at < len; at++) {

            for (ch = 0; ch < 0x80; ch++) {
                src = malloc(len);
                ngx_memset(src, 'x', len);
                src[at] = (u_char) ch;

                size = ngx_ws_bus_json_escape_size(src, len);

                tap_each((size > len)
                         == (ch < 0x20 || ch == '"' || ch == '\\'),
                         "%02x, size", (int) ch);

                dst = malloc(size + 2);
                dst[0] = '"';

                tap_each(ngx_ws_bus_json_escape(dst + 1, src, len)
                         == dst + 1 + size,
                         "%02x at %d of %d, end", (int) ch, (int) at,
                         (int) len);

                dst[size + 1] = '"';

                tap_each(ngx_ws_bus_json_valid(dst, size + 2) == NGX_OK,
                         "%02x, valid", (int) ch);

                s.data = dst;
                s.len = size + 2;

                tap_each(ngx_ws_bus_json_is(&s, src, len), "%02x, is",
                         (int) ch);
                tap_each(ngx_ws_bus_json_unescape(&s) == NGX_OK
                         && s.len == len
                         && ngx_memcmp(s.data, src, len) == 0,
                         "%02x at %d of %d", (int) ch, (int) at, (int) len);

                free(src);
                free(dst);
            }
        }
    }

    tap_all("what is escaped comes back");
}


static void
test_uint(void)
{
    uint64_t     n;
    ngx_int_t    rc;
    ngx_str_t    raw;
    ngx_uint_t   i;

    for (i = 0; i < sizeof(uints) / sizeof(uints[0]); i++) {
        raw.len = strlen(uints[i].raw);
        raw.data = copy(uints[i].raw, raw.len);
        n = 0;

        rc = ngx_ws_bus_json_uint(&raw, &n);

        tap_ok(rc == uints[i].rc && (rc != NGX_OK || n == uints[i].n),
               "number \"%s\" is %s", uints[i].raw,
               uints[i].rc == NGX_OK ? "taken" : "refused");

        free(raw.data);
    }
}
