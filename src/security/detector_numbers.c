/* security/detector_numbers.c - numbers that carry check digits, and the ranges they are given
 * from.
 *
 * Trust: untrusted; patterns bound the lengths (detector_rules.c).
 */
#include "security/detector_internal.h"

#define DIGITS_MAX 34u

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The digits of text, as numbers; SIZE_MAX: too many. */
static size_t take_digits(struct deja_slice text, uint8_t digits[DIGITS_MAX])
{
    size_t count = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (!is_digit(text.data[i]))
            continue;
        if (count == DIGITS_MAX)
            return SIZE_MAX;
        digits[count++] = (uint8_t)(text.data[i] - '0');
    }
    return count;
}

static uint32_t number_of(const uint8_t *digits, size_t count)
{
    uint32_t number = 0;
    for (size_t i = 0; i < count; i++)
        number = number * 10 + digits[i];
    return number;
}

/* ---- cards ---- */

/* Numbers a scheme gives out: the first six digits from low to high, the lengths as bits. */
struct card_range {
    uint32_t low;
    uint32_t high;
    uint32_t lengths;
};
#define LEN(n) (1u << (n))

static const struct card_range card_ranges[] = {
    {400000, 499999, LEN(13) | LEN(16) | LEN(19)},           /* Visa */
    {510000, 559999, LEN(16)},                               /* Mastercard */
    {222100, 272099, LEN(16)},                               /* Mastercard */
    {340000, 349999, LEN(15)},                               /* American Express */
    {370000, 379999, LEN(15)},                               /* American Express */
    {601100, 601199, LEN(16) | LEN(19)},                     /* Discover */
    {644000, 659999, LEN(16) | LEN(19)},                     /* Discover */
    {620000, 629999, LEN(16) | LEN(17) | LEN(18) | LEN(19)}, /* UnionPay */
    {810000, 817199, LEN(16) | LEN(17) | LEN(18) | LEN(19)}, /* UnionPay */
    {300000, 305999, LEN(14) | LEN(16)},                     /* Diners Club */
    {309500, 309599, LEN(14) | LEN(16)},                     /* Diners Club */
    {360000, 369999, LEN(14)},                               /* Diners Club */
    {380000, 399999, LEN(14) | LEN(16)},                     /* Diners Club */
    {352800, 358999, LEN(16) | LEN(17) | LEN(18) | LEN(19)}, /* JCB */
    {220000, 220499, LEN(16) | LEN(17) | LEN(18) | LEN(19)}, /* Mir */
    {508500, 508999, LEN(16)},                               /* RuPay */
    {606985, 607984, LEN(16)},                               /* RuPay */
    {506099, 506198, LEN(16) | LEN(18) | LEN(19)},           /* Verve */
    {500000, 508499, LEN(16) | LEN(17) | LEN(18) | LEN(19)}, /* Maestro */
    {560000, 589999, LEN(16) | LEN(17) | LEN(18) | LEN(19)}, /* Maestro */
    {670000, 679999, LEN(16) | LEN(17) | LEN(18) | LEN(19)}, /* Maestro */
};

static bool is_luhn(const uint8_t *digits, size_t count)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t digit = digits[count - 1 - i];
        if (i % 2)
            digit = digit < 5 ? 2 * digit : 2 * digit - 9;
        sum += digit;
    }
    return sum % 10 == 0;
}

bool dj_check_card(struct dj_candidate *candidate)
{
    uint8_t digits[DIGITS_MAX];
    size_t count = take_digits(candidate->value, digits);
    if (count < 13 || count > 19 || !is_luhn(digits, count))
        return false;
    uint32_t front = number_of(digits, 6);
    for (size_t i = 0; i < sizeof card_ranges / sizeof *card_ranges; i++)
        if (front >= card_ranges[i].low && front <= card_ranges[i].high &&
            (card_ranges[i].lengths & LEN(count)))
            return true;
    return false;
}

/* ---- persons ---- */

/* Social Security numbers, and taxpayers' numbers of the same form (area 9xx). */
bool dj_check_ssn(struct dj_candidate *candidate)
{
    uint8_t digits[DIGITS_MAX];
    if (take_digits(candidate->value, digits) != 9)
        return false;
    uint32_t area = number_of(digits, 3);
    uint32_t group = number_of(digits + 3, 2);
    uint32_t serial = number_of(digits + 5, 4);
    if (area == 0 || area == 666 || group == 0 || serial == 0)
        return false;
    if (area >= 900)
        return group >= 50 && group != 66 && group != 67 && group != 68 && group != 69 &&
               group != 89 && group != 93;
    /* Printed on a wallet's sample card and in an advertisement: nobody's. */
    return !(area == 78 && group == 5 && serial == 1120) &&
           !(area == 219 && group == 9 && serial == 9999);
}

static const char iban_lengths[] =
    "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BI27BR29BY28CH21CR22CY28CZ24DE22DJ27DK18DO28EE20EG29ES24"
    "FI18FK18FO18FR27GB22GE22GI23GL18GR27GT28HN28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32"
    "LI21LT20LU20LV21LY25MC27MD24ME22MK19MN20MR27MT31MU30NI28NL18NO15OM23PK24PL28PS29PT25QA29RO24"
    "RS22RU33SA24SC31SD18SE24SI19SK24SM27SO23ST25SV28TL23TN24TR26UA29VA22VG24XK20YE30";

static size_t iban_length(const char *country)
{
    for (const char *at = iban_lengths; *at; at += 4)
        if (at[0] == country[0] && at[1] == country[1])
            return (size_t)((at[2] - '0') * 10 + (at[3] - '0'));
    return 0;
}

/* What follows the number in capitals is cut off. */
bool dj_check_iban(struct dj_candidate *candidate)
{
    char compact[40];
    struct deja_slice value = candidate->value;
    size_t wanted = iban_length(value.data);
    size_t count = 0;
    size_t end = 0;
    while (end < value.len && count < wanted && count < sizeof compact) {
        char c = value.data[end++];
        if (c != ' ' && c != '-')
            compact[count++] = c;
    }
    if (!wanted || count != wanted)
        return false;
    const char *after = value.data + end;
    bool is_longer = after < candidate->text.data + candidate->text.len &&
                     (is_digit(*after) || (*after >= 'A' && *after <= 'Z'));
    uint32_t rest = 0;
    for (size_t i = 0; i < count; i++) {
        char c = compact[(i + 4) % count];
        uint32_t number = is_digit(c) ? (uint32_t)(c - '0') : (uint32_t)(c - 'A') + 10;
        rest = (rest * (number < 10 ? 10 : 100) + number) % 97;
    }
    candidate->value.len = end;
    return rest == 1 && !is_longer;
}

bool dj_check_nino(struct dj_candidate *candidate)
{
    static const char *const unused[] = {"BG", "GB", "KN", "NK", "NT", "TN", "ZZ"};
    const char *front = candidate->value.data;
    if (memchr("DFIQUV", front[0], 6) || memchr("DFIQUVO", front[1], 7))
        return false;
    for (size_t i = 0; i < sizeof unused / sizeof *unused; i++)
        if (memcmp(unused[i], front, 2) == 0)
            return false;
    return true;
}

bool dj_check_nir(struct dj_candidate *candidate)
{
    uint8_t digits[DIGITS_MAX];
    if (take_digits(candidate->value, digits) != 15)
        return false;
    uint32_t month = number_of(digits + 3, 2);
    uint64_t number = (uint64_t)number_of(digits, 7) * 1000000u + number_of(digits + 7, 6);
    bool is_month = (month >= 1 && month <= 12) || (month >= 20 && month <= 42) || month >= 50;
    return is_month && 97 - number % 97 == number_of(digits + 13, 2);
}

bool dj_check_dni(struct dj_candidate *candidate)
{
    static const char letters[] = "TRWAGMYFPDXBNJZSQVHLCKE";
    struct deja_slice value = candidate->value;
    uint8_t digits[DIGITS_MAX + 1] = {0};
    bool is_foreign = !is_digit(value.data[0]);
    size_t count = take_digits(value, digits + 1);
    if (count != (is_foreign ? 7 : 8))
        return false;
    digits[0] = (uint8_t)(is_foreign ? value.data[0] - 'X' : 0);
    return letters[number_of(digits, count + 1) % 23] == value.data[value.len - 1];
}

static uint8_t cpf_digit(const uint8_t *digits, uint32_t count)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += digits[i] * (count + 1 - i);
    return (uint8_t)(sum * 10 % 11 % 10);
}

bool dj_check_cpf(struct dj_candidate *candidate)
{
    uint8_t digits[DIGITS_MAX];
    if (take_digits(candidate->value, digits) != 11)
        return false;
    bool is_varied = false;
    for (size_t i = 1; i < 11; i++)
        is_varied |= digits[i] != digits[0];
    return is_varied && cpf_digit(digits, 9) == digits[9] && cpf_digit(digits, 10) == digits[10];
}

bool dj_check_codice(struct dj_candidate *candidate)
{
    /* Of places 1, 3, 5 …: by digit, and by letter. */
    static const uint8_t odd[] = {1,  0,  5, 7, 9, 13, 15, 17, 19, 21, 2,  4,  18,
                                  20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23};
    const char *code = candidate->value.data;
    uint32_t sum = 0;
    for (size_t i = 0; i < 15; i++) {
        uint8_t index = (uint8_t)(is_digit(code[i]) ? code[i] - '0' : code[i] - 'A');
        sum += i % 2 == 0 ? odd[index] : index;
    }
    return code[15] == (char)('A' + sum % 26);
}

/* ---- addresses ---- */

bool dj_check_phone(struct dj_candidate *candidate)
{
    uint8_t digits[DIGITS_MAX];
    size_t count = take_digits(candidate->value, digits);
    return count >= 8 && count <= 15;
}
