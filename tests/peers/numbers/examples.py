#!/usr/bin/env python3
"""Example numbers of every country as libphonenumber has them: as they are dialled there, and in E.164.

One per line, by tabs: ISO 3166 code, digits, E.164. After the numbers of a country stands one of another country, dialled
with the international prefix.
"""
import phonenumbers
from phonenumbers import PhoneNumberFormat as Format
from phonenumbers import PhoneNumberType as Type

KINDS = (Type.FIXED_LINE, Type.MOBILE, Type.TOLL_FREE, Type.PREMIUM_RATE, Type.SHARED_COST, Type.VOIP, Type.UAN)

# Islands with a numbering plan and no code of their own in ISO 3166-1.
NO_COUNTRIES = {"AC", "TA"}


def digits(text):
    return "".join(char for char in text if char.isdigit())


def main():
    countries = sorted(phonenumbers.SUPPORTED_REGIONS - NO_COUNTRIES)
    for country, other in zip(countries, countries[1:] + countries[:1]):
        seen = []
        for kind in KINDS:
            example = phonenumbers.example_number_for_type(country, kind)
            if example is not None:
                seen.append(digits(phonenumbers.format_number(example, Format.NATIONAL)))
        abroad = phonenumbers.example_number_for_type(other, Type.FIXED_LINE)
        if abroad is not None:
            seen.append(digits(phonenumbers.format_out_of_country_calling_number(abroad, country)))
        for dialled in dict.fromkeys(seen):
            try:
                number = phonenumbers.parse(dialled, country)
            except phonenumbers.NumberParseException:
                continue  # an international prefix that only some carriers of the country have
            if phonenumbers.is_valid_number(number):
                print(country, dialled, phonenumbers.format_number(number, Format.E164), sep="\t")


main()
