"""The guided form: which words a text may use that the scene's grammar does not write word for word.

Four kinds of wording make a guided sentence:

    joining, ending   function words of the language, free
    terms             wordings of the scene, each with its claims; said once
    colours           of a thing of the scene that has none: if the model grounds them, and never of a person
    any other word    if the model grounds it: the product of the probabilities of its pieces is at least `least`,
                      and becomes the score of its claim

What guided does *not* guarantee, and strict does. Function words are free, so they may bind true things falsely: a
dog "on" a car that stands beside one, a ball that "has" a dog. A word of the model's own is as true as the model
is well calibrated, and a probability says how the sentence goes on, not only what the picture shows. Nobody parses:
such a word is claimed as an object whatever its part of speech, a free adjective may describe a person, and a
kind of what the scene hedges ("puppy" for "what may be a dog") may be said surely. Words that are never the
model's are lists of a language, not its meaning. Nothing of the scene is obligatory, and the grammar of the
language is the model's. What always holds: no numbers, names, quotations, negations or colours of people beside
those of the scene, no bare word for what is hedged, no thing twice, one sentence, a claim for each content word.
"""
