"""nst_rt"""
