"""The artworks of the gallery, and the style weight for each."""

# In the order of the gallery's styles; new styles start from the first one.
ARTWORKS = {
    name: {"title": title, "artist": artist, "year": year, "license": "public domain"}
    for name, title, artist, year in (
        ("starry_night", "The Starry Night", "Vincent van Gogh", "1889"),
        ("great_wave", "The Great Wave off Kanagawa", "Katsushika Hokusai", "c. 1831"),
        ("the_scream", "The Scream", "Edvard Munch", "1893"),
        ("composition_vii", "Composition VII", "Wassily Kandinsky", "1913"),
        ("water_lilies", "Water Lilies", "Claude Monet", "c. 1916-19"),
        ("wheat_field", "Wheat Field with Cypresses", "Vincent van Gogh", "1889"),
        ("night_cafe", "The Night Café", "Vincent van Gogh", "1888"),
        ("cottages", "Houses and Figure", "Vincent van Gogh", "1890"),
        ("tahitian_women", "Tahitian Women", "Paul Gauguin", "1891-92"),
        ("delaunay_portrait", "Portrait of Jean Metzinger", "Robert Delaunay", "1906"),
        ("udnie", "Udnie (Young American Girl, Dance)", "Francis Picabia", "1913"),
    )
}
# Chosen by eye.
STYLE_WEIGHTS = dict.fromkeys(ARTWORKS, 12.0) | {
    "starry_night": 10.0,
    "great_wave": 7.0,
    "the_scream": 7.0,
    "composition_vii": 8.0,
    "night_cafe": 8.0,
    "udnie": 8.0,
}
